"""What a method sets on a network from outside: factors on its logits, the region that it computes in."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model import model as networks
from model.experts import ExpertModel
from model.rescaling import PerClassScale
from trainer.engine.precision import Precision


class SmallModel(networks.ExpertsModel):
    architecture = replace(networks.CIFAR, blocks=(1, 1, 1))


def network_of(num_experts: int = 2, *, use_norm: bool = True) -> ExpertModel:
    torch.manual_seed(0)
    arguments = {"num_classes": 4, "num_experts": num_experts, "use_norm": use_norm, "returns_feat": True}
    return SmallModel(**arguments).eval()


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def half() -> AbstractContextManager[None]:
    return torch.autocast("cpu", torch.bfloat16)


# -- factors on logits ------------------------------------------------------------------------------------------------


def test_each_experts_logit_of_a_class_has_its_own_factor() -> None:
    scale = PerClassScale(2, 3)
    logits = torch.tensor([[[1.0, 2.0, -3.0], [4.0, 0.0, 6.0]]])  # [B, E, C]
    assert torch.equal(scale(logits), logits)
    with torch.no_grad():
        scale.weight.copy_(torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 0.5]]))
    assert torch.equal(scale(logits), torch.tensor([[[2.0, 2.0, -3.0], [4.0, 0.0, 3.0]]]))


@pytest.mark.parametrize("num_experts", [1, 2])
def test_the_mean_is_of_the_scaled_logits(num_experts: int) -> None:
    network = network_of(num_experts)
    with torch.no_grad():
        before = network.expert_logits(images())
        network.rescale = PerClassScale(num_experts, 4)
        network.rescale.weight[0, 1] = 3.0
        by_hand = before.clone()
        by_hand[:, 0, 1] *= 3
        torch.testing.assert_close(network.expert_logits(images()), by_hand)
        result = network(images())
        output = result if isinstance(result, Tensor) else result["output"]
        torch.testing.assert_close(output, by_hand.mean(1))


def test_factors_have_the_gradient_of_a_product() -> None:
    network = network_of()
    network.requires_grad_(False)
    network.rescale = PerClassScale(2, 4)
    logits = network.expert_logits(images())
    logits.sum().backward()
    torch.testing.assert_close(network.rescale.weight.grad, logits.detach().sum(0))  # all factors are 1


@pytest.mark.parametrize("use_norm", [False, True])
def test_scaled_logits_are_in_single_precision_under_autocast(use_norm: bool) -> None:
    network = network_of(use_norm=use_norm)
    network.rescale = PerClassScale(2, 4)
    network.autocast = half
    assert network.expert_logits(images()).dtype is torch.float32


def test_without_a_method_there_is_nothing_in_the_state_dict() -> None:
    network = network_of()
    assert isinstance(network.rescale, nn.Identity)
    assert all(name.startswith("backbone.") for name in network.state_dict())


# -- the region that a network computes in ----------------------------------------------------------------------------


def test_the_region_holds_in_threads_that_know_of_none() -> None:
    network, results = network_of(use_norm=False), []
    network.autocast = half
    thread = threading.Thread(target=lambda: results.append(network(images())["logits"].dtype))
    thread.start()
    thread.join()
    assert results == [torch.bfloat16]
    assert not torch.is_autocast_enabled("cpu")
    network.autocast = nullcontext
    assert network(images())["logits"].dtype is torch.float32


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_deep_copy_computes_in_the_same_region_and_has_weights_of_its_own(precision: str) -> None:
    network = network_of(use_norm=False)
    network.autocast = Precision(precision, torch.device("cpu")).autocast
    twin = copy.deepcopy(network)
    with torch.no_grad():
        expected = network(images())["logits"]
        assert torch.equal(twin(images())["logits"], expected)
        twin.backbone.linears[0].weight.zero_()
        assert torch.equal(network(images())["logits"], expected)


@pytest.mark.parametrize(
    "region",
    [
        nullcontext,
        half,
        Precision("fp32", torch.device("cpu")).autocast,
        Precision("bf16", torch.device("cpu")).autocast,
    ],
    ids=["nothing", "a function", "fp32", "bf16"],
)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_compiled_network_computes_the_same(region: Callable[[], AbstractContextManager[Any]], scaled: bool) -> None:
    network = network_of(use_norm=False)
    if scaled:
        network.rescale = PerClassScale(2, 4)
    network.autocast = region
    torch.compiler.reset()
    compiled = torch.compile(copy.deepcopy(network), backend="eager")
    with torch.no_grad():
        expected, result = network(images()), compiled(images())
    for name in ("output", "logits", "feat"):
        assert result[name].dtype is expected[name].dtype
        assert torch.equal(result[name], expected[name]), name

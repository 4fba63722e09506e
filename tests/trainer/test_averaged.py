"""Averaged weights against averages worked out by hand; their place in checkpoints, logs and continuation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils._python_dispatch import TorchDispatchMode

import model.model as networks
from base import Step
from model.experts import ExpertModel
from tests.ranks import in_processes
from tests.trainer.small_runs import make_quick, run, small_config, small_trainer
from trainer.methods.averaged import EMA, SWA, reestimate_statistics
from trainer.methods.base import Method
from utils.distributed.context import DistributedContext

pytestmark = pytest.mark.usefixtures("_quick")

ALONE = DistributedContext()
EMA_CONFIG = {"type": "EMA", "args": {"decay": 0.9}}


class Holder(Method):
    """A method that trains nothing: the test sets the weights."""


class Operations(TorchDispatchMode):
    """Notes what a device is given to do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.append(function.name().partition(".")[0])
        return function(*args, **(kwargs or {}))


def small_network() -> ExpertModel:
    return networks.ResNet10Model(num_classes=3, num_experts=1)


def set_all(network: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.fill_(value)


def values(network: nn.Module) -> set[float]:
    tensors = (*network.parameters(), *network.buffers())
    return {round(float(entry), 6) for tensor in tensors if tensor.is_floating_point() for entry in tensor.unique()}


def test_ema_warms_up_and_then_decays_by_d() -> None:
    """d_0 = 1/10, d_1 = 2/11, …; weights 0 at first, then 1, then 2."""
    network = small_network()
    set_all(network, 0.0)
    method = EMA(Holder(network), ALONE, decay=0.15)
    set_all(network, 1.0)
    method.after_update(Step(1, 0))
    assert values(method.averaged) == {0.9}
    set_all(network, 2.0)
    method.after_update(Step(1, 1))  # 2/11 is more than d = 0.15
    assert values(method.averaged) == {round(0.15 * 0.9 + 0.85 * 2, 6)}


@pytest.mark.parametrize("share", [0.001, 0.5, 0.9, 1.0])
def test_all_weights_move_at_once_by_the_bits_of_each(share: float) -> None:
    method = EMA(Holder(small_network()), ALONE)
    expected = [mean.clone() for mean in method.averaged.parameters()]
    with torch.no_grad():
        for mean, weight in zip(expected, method.network.parameters(), strict=True):
            weight.add_(torch.randn_like(weight))
            mean.lerp_(weight, share)
        for buffer in method.network.buffers():
            buffer.add_(2)
    with Operations() as operations:
        method.move(share)
    assert operations.names == ["aten::_foreach_lerp_", "aten::_foreach_copy_"]
    assert all(torch.equal(*pair) for pair in zip(method.averaged.parameters(), expected, strict=True))
    assert all(int(buffer) == 2 for name, buffer in method.averaged.named_buffers() if "num_batches" in name)


def test_swa_is_the_plain_mean_of_epoch_ends_from_its_start_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten epochs, 0.6 of them over: epochs 7, 8, 9 count; before, the mean is the network itself."""
    monkeypatch.setattr("trainer.methods.averaged.reestimate_statistics", lambda *given: None)
    network = small_network()
    method = SWA(Holder(network), ALONE, epochs=10)
    for epoch in range(1, 10):
        set_all(network, float(epoch))
        method.finish_epoch(epoch, list)
        if epoch <= 7:
            assert values(method.averaged) == {float(epoch)}
    assert values(method.averaged) == {8.0}
    method.finish_epoch(9, list)  # as after an interruption right there
    assert values(method.averaged) == {8.0}


def test_reestimated_statistics_are_the_mean_over_batches_of_batch_statistics() -> None:
    network = small_network()
    batches = [torch.randn(6, 3, 32, 32) * scale for scale in (1.0, 3.0)]
    weights = [weight.detach().clone() for weight in network.parameters()]
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    reestimate_statistics(network, layers, batches)
    first = network.backbone.bn1
    inputs = [network.backbone.conv1(batch) for batch in batches]
    means = [x.mean(dim=(0, 2, 3)) for x in inputs]
    variances = [x.var(dim=(0, 2, 3), unbiased=True) for x in inputs]
    torch.testing.assert_close(first.running_mean, sum(means) / 2)
    torch.testing.assert_close(first.running_var, sum(variances) / 2)
    assert first.momentum == 0.1
    assert all(torch.equal(now, then) for now, then in zip(network.parameters(), weights, strict=True))


def averaged_config(**changes: Any) -> dict[str, Any]:
    validated = {"trainer__validate": True, "trainer__monitor": "max val_averaged_accuracy"}
    return small_config(method=EMA_CONFIG, **{**validated, **changes})


def test_raw_and_averaged_weights_stand_side_by_side(tmp_path: Path) -> None:
    """In the checkpoint and in the log; the raw ones are those of a run without an average."""
    content = run(tmp_path / "ema", averaged_config())
    plain = run(tmp_path / "plain", small_config(trainer__validate=True))
    raw, averaged = content["state_dict"], content["averaged_state_dict"]
    assert raw.keys() == averaged.keys()
    assert all(torch.equal(raw[name], plain["state_dict"][name]) for name in raw)
    assert any(not torch.equal(raw[name], averaged[name]) for name in raw)
    logged, plain_log = content["progress"]["history"][-1], plain["progress"]["history"][-1]
    assert {name: logged[name] for name in plain_log} == plain_log
    assert {"val_averaged_accuracy", "val_averaged_loss", "val_averaged_balanced_accuracy"} <= logged.keys()


def test_the_average_of_a_run_is_the_recursion_over_its_weights(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, averaged_config(trainer__validate=False, trainer__monitor="off"))
    name = "backbone.conv1.weight"
    expected = trainer.method.network.state_dict()[name].clone().double()
    taken = 0
    step_of = trainer.train_step

    def train_step(*arguments: Any) -> None:
        nonlocal expected, taken
        step_of(*arguments)
        d = min(0.9, (1 + taken) / (10 + taken))
        expected = d * expected + (1 - d) * trainer.method.network.state_dict()[name].double()
        taken += 1

    trainer.train_step = train_step  # type: ignore[method-assign]
    trainer.train()
    mean = trainer.method.networks()["averaged"].state_dict()[name]
    torch.testing.assert_close(mean.double(), expected, rtol=1e-5, atol=1e-6)


REESTIMATING = {"EMA": {"type": "EMA", "args": {"batchnorm": "reestimate"}}, "SWA": {"type": "SWA"}}


def averaged_by(distributed: DistributedContext, folder: Path) -> dict[str, dict[str, Tensor]]:
    """The averaged networks of this process."""
    make_quick()
    outcomes = {}
    for name, method in REESTIMATING.items():
        config = small_config(method=method, trainer__epochs=1)
        trainer = small_trainer(folder / name, config, distributed=distributed)
        trainer.train()
        outcomes[name] = dict(trainer.method.networks()["averaged"].state_dict())
    return outcomes


def test_reestimated_statistics_are_those_of_the_images_of_all_processes(tmp_path: Path) -> None:
    """The first layer's by hand: the mean over both processes' batches of unmixed images."""
    first, second = in_processes(averaged_by, 2, tmp_path)
    alone = small_trainer(tmp_path / "alone", small_config())
    alone.recorder.close()
    for name, state in first.items():
        assert all(torch.equal(value, second[name][entry]) for entry, value in state.items())
        kernel = state["backbone.conv1.weight"]
        batches = [
            batch.view("train") for rank in (0, 1) for batch in alone.loaders["train"].epoch(1, rank=rank, size=2)
        ]
        means = [conv2d(images, kernel, padding=1).mean(dim=(0, 2, 3)) for images in batches]
        expected = torch.stack(means).mean(dim=0)
        torch.testing.assert_close(state["backbone.bn1.running_mean"], expected, rtol=1e-4, atol=1e-5)

"""Networks without storage: the names and shapes of those with it, and no random number drawn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import init

from model.model import ResNet32Model
from model.storage_free import without_storage


def test_names_and_shapes_are_those_of_a_network_with_storage() -> None:
    real = ResNet32Model(num_classes=7, num_experts=2, use_norm=True)
    with without_storage():
        built = ResNet32Model(num_classes=7, num_experts=2, use_norm=True)
    assert all(tensor.is_meta for tensor in [*built.parameters(), *built.buffers()])
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in (real, built)]
    assert shapes[0] == shapes[1]


WAYS: dict[str, Callable[[str], Tensor]] = {
    "filled": lambda device: torch.empty(4, device=device).normal_(),
    "drawn": lambda device: torch.randn(4, device=device),
    "drawn from another stream": lambda device: torch.rand(4, device=device, generator=torch.default_generator),
    "initialised": lambda device: init.kaiming_uniform_(torch.empty(2, 2, device=device), a=5**0.5),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_has_storage_is_drawn_and_the_random_stream_moves_by_that_alone(way: Callable[[str], Tensor]) -> None:
    torch.manual_seed(3)
    expected = way("cpu")
    torch.manual_seed(3)
    with without_storage():
        ResNet32Model(num_classes=7, num_experts=2)
        empty, drawn = way("meta"), way("cpu")
    assert (empty.is_meta, empty.shape) == (True, expected.shape)
    assert torch.equal(drawn, expected)

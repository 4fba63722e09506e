"""Networks without storage: the names and shapes of those with it, and no random number drawn."""

from __future__ import annotations

import torch

from model.model import ResNet32Model
from model.storage_free import without_storage


def test_names_and_shapes_are_those_of_a_network_with_storage() -> None:
    real = ResNet32Model(num_classes=7, num_experts=2, use_norm=True)
    with without_storage():
        built = ResNet32Model(num_classes=7, num_experts=2, use_norm=True)
    assert all(tensor.is_meta for tensor in [*built.parameters(), *built.buffers()])
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in (real, built)]
    assert shapes[0] == shapes[1]


def test_what_has_storage_is_drawn_and_the_random_stream_moves_by_that_alone() -> None:
    torch.manual_seed(3)
    expected = torch.empty(4).normal_()
    torch.manual_seed(3)
    with without_storage():
        ResNet32Model(num_classes=7, num_experts=2)
        drawn = torch.empty(4, device="cpu").normal_()
    assert torch.equal(drawn, expected)

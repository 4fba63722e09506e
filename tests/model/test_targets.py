"""Mixed labels: one object for losses and metrics."""

from __future__ import annotations

import torch

from model.targets import MixedTargets

VALUES = torch.tensor([[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]])  # [E = 1, B = 2, C = 3]


def test_values_are_read_off_at_the_labels() -> None:
    assert MixedTargets(torch.tensor([2, 0])).pick(VALUES).tolist() == [[4.0, 8.0]]


def test_mixed_ones_at_both_by_lambda() -> None:
    mixed = MixedTargets(torch.tensor([2, 0]), torch.tensor([0, 1]), 0.75)
    assert mixed.pick(VALUES).tolist() == [[0.75 * 4 + 0.25 * 1, 0.75 * 8 + 0.25 * 16]]


def test_an_image_mixed_with_one_of_its_class_is_as_if_unmixed() -> None:
    labels = torch.tensor([1, 2])
    assert torch.equal(MixedTargets(labels, labels, 0.25).pick(VALUES), MixedTargets(labels).pick(VALUES))


def test_a_measure_of_the_labels_is_weighed() -> None:
    mixed = MixedTargets(torch.tensor([2, 0]), torch.tensor([0, 1]), 0.75)
    assert mixed.weigh(lambda labels: labels.double().sum()).item() == 0.75 * 2 + 0.25 * 1

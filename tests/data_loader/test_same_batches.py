"""Batches are a function of seed, epoch and step, whoever reads them and whatever was read before."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from tests.data_loader.epochs import digits, inputs, same_inputs

STRONG: list[dict[str, Any]] = [
    {"randaugm": True, "cutout": True},
    {"trivialaugm": True, "balanced": True},
    {"cutout": True, "balanced": True, "retain_epoch_size": False},
]


@pytest.mark.parametrize("arguments", STRONG, ids=str)
def test_workers_change_nothing(arguments: dict[str, Any]) -> None:
    alone, helped = digits(**arguments, num_workers=0), digits(**arguments, num_workers=2)
    for epoch in (0, 1):
        assert same_inputs(inputs(alone, epoch), inputs(helped, epoch))


def test_batch_size_changes_no_image() -> None:
    small, large = (digits(randaugm=True, cutout=True, batch_size=size) for size in (50, 120))
    images = [torch.cat([batch[0] for batch in inputs(loader, 3)]) for loader in (small, large)]
    assert torch.equal(*images)


def test_epochs_seeds_and_repeats_are_augmented_anew() -> None:
    loader = digits(balanced=True, retain_epoch_size=False, batch_size=2000)
    ((images, targets, sample_ids),) = inputs(loader, 0)
    smallest = targets.numpy() == 9  # three images, each drawn forty times
    assert smallest.sum() == 120
    assert len(np.unique(sample_ids[smallest, 1])) == 3
    assert len(torch.unique(images[torch.from_numpy(smallest)].flatten(1), dim=0)) > 100
    for other in (
        inputs(loader, 1),
        inputs(digits(balanced=True, retain_epoch_size=False, batch_size=2000, seed=2), 0),
    ):
        ((others, _, other_ids),) = other
        first, second = (
            {int(index): image for index, image in zip(ids[:, 1], i, strict=True)}
            for ids, i in ((sample_ids, images), (other_ids, others))
        )
        differing = sum(not torch.equal(first[index], second[index]) for index in first)
        assert differing > 0.9 * len(first)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generators_alone(workers: int) -> None:
    torch.default_generator.manual_seed(11)
    np.random.seed(12)
    random.seed(13)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    loader = digits(randaugm=True, cutout=True, num_workers=workers, validation_split=0.1, balanced=True)
    inputs(loader, 0)
    inputs(loader.split_validation(), 0)
    inputs(loader, 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]
    assert random.getstate() == before[2]


@pytest.mark.parametrize("arguments", [{}, {"balanced": True}, {"randaugm": True, "num_workers": 2}], ids=str)
def test_an_epoch_resumed_at_a_step_goes_on_as_it_would_have(arguments: dict[str, Any]) -> None:
    whole = inputs(digits(**arguments), 4)
    assert len(whole) == 6
    resumed = digits(**arguments)
    for first_step in (0, 2, 5, 6):
        assert same_inputs(inputs(resumed, 4, first_step=first_step), whole[first_step:])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_left_half_way_leaves_no_trace_in_the_next(workers: int) -> None:
    loader = digits(randaugm=True, num_workers=workers)
    expected = inputs(digits(randaugm=True), 1)
    batches = loader.epoch(0)
    next(batches)
    next(batches)
    assert same_inputs(inputs(loader, 1), expected)


def test_two_epochs_side_by_side_do_not_mix() -> None:
    loader = digits()
    expected = [inputs(digits(), epoch) for epoch in (0, 1)]
    pairs = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    for epoch in (0, 1):
        batches = [pair[epoch] for pair in pairs]
        assert all(
            np.array_equal(batch.sample_ids, known[2]) for batch, known in zip(batches, expected[epoch], strict=True)
        )

"""The order of an epoch: complete, its own each epoch, balanced on demand, resumable at any step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base import shard_of
from data_loader.sampling import (
    BatchPlan,
    BatchPlanner,
    balanced_epoch_length,
    balanced_sample_ids,
    sequential_sample_ids,
    shuffled_sample_ids,
)

LONGTAILED = np.repeat(np.arange(5), [50, 20, 9, 3, 1])


def ids_of(plans: Iterable[BatchPlan]) -> list[np.ndarray]:
    return [plan.sample_ids for plan in plans]


def test_sequential_sample_ids_are_the_file_order() -> None:
    sample_ids = sequential_sample_ids(4, 6)
    assert sample_ids.dtype == np.int64
    assert sample_ids.tolist() == [[4, index, 0] for index in range(6)]


@given(seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 1000), num_images=st.integers(0, 200))
@settings(deadline=None, max_examples=50)
def test_a_shuffled_epoch_shows_every_image_once(seed: int, epoch: int, num_images: int) -> None:
    sample_ids = shuffled_sample_ids(seed, epoch, num_images)
    assert sample_ids.shape == (num_images, 3)
    assert sorted(sample_ids[:, 1]) == list(range(num_images))
    assert np.all(sample_ids[:, 0] == epoch)
    assert np.all(sample_ids[:, 2] == 0)


def test_splits_that_share_images_have_orders_of_their_own() -> None:
    first, second = (shuffled_sample_ids(1, 3, 200, split=split) for split in (0, 1))
    assert sorted(first[:, 1]) == sorted(second[:, 1])
    assert np.abs(np.corrcoef(np.argsort(first[:, 1]), np.argsort(second[:, 1]))[0, 1]) < 0.25
    assert not {tuple(sample_id) for sample_id in first} & {tuple(sample_id) for sample_id in second}


def test_epochs_and_seeds_have_orders_of_their_own_and_repeat_them() -> None:
    orders = {tuple(shuffled_sample_ids(seed, epoch, 100)[:, 1]) for seed in (0, 1, 2**40) for epoch in range(5)}
    assert len(orders) == 15
    assert tuple(shuffled_sample_ids(1, 3, 100)[:, 1]) in orders


def test_every_image_comes_at_every_place_about_equally_often() -> None:
    places = np.zeros((10, 10))
    for epoch in range(2000):
        places[shuffled_sample_ids(1, epoch, 10)[:, 1], np.arange(10)] += 1
    chi_square = ((places - 200) ** 2 / 200).sum()
    # a permutation's table has (10 − 1)² = 81 degrees of freedom, and expectation 90 = 81 · 10/9
    assert 40 < chi_square < 145


def test_balanced_lengths() -> None:
    counts = np.array([50, 20, 9, 3, 1])
    assert balanced_epoch_length(counts, retain_epoch_size=True) == 83
    assert balanced_epoch_length(counts, retain_epoch_size=False) == 250
    assert balanced_epoch_length(np.array([50, 0, 9]), retain_epoch_size=False) == 100


@given(
    sizes=st.lists(st.integers(0, 25), min_size=1, max_size=8).filter(any),
    length=st.integers(0, 150),
    epoch=st.integers(0, 50),
)
@settings(deadline=None, max_examples=100)
def test_a_balanced_epoch_draws_classes_and_their_images_equally_often(
    sizes: list[int], length: int, epoch: int
) -> None:
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    sample_ids = balanced_sample_ids(3, epoch, targets, length)
    assert sample_ids.shape == (length, 3)
    assert np.all(sample_ids[:, 0] == epoch)
    of_class = np.bincount(targets[sample_ids[:, 1]], minlength=len(sizes))[np.array(sizes) > 0]
    assert of_class.max() - of_class.min() <= 1
    for label in np.unique(targets):  # images cycle: none comes again before all have come
        times = np.bincount(sample_ids[:, 1], minlength=len(targets))[targets == label]
        assert times.max() - times.min() <= 1
    for index in np.unique(sample_ids[:, 1]):  # and each draw has a number of its own, so that it is augmented anew
        assert sorted(sample_ids[sample_ids[:, 1] == index, 2]) == list(range((sample_ids[:, 1] == index).sum()))


def test_the_larger_share_goes_round_among_the_classes() -> None:
    larger = [
        set(np.flatnonzero(np.bincount(LONGTAILED[balanced_sample_ids(1, epoch, LONGTAILED, 83)[:, 1]]) == 17))
        for epoch in range(5)
    ]
    assert all(len(classes) == 3 for classes in larger)  # 83 = 5 · 16 + 3
    assert np.bincount([label for classes in larger for label in classes]).tolist() == [3] * 5


def test_balanced_epochs_differ_and_repeat_themselves() -> None:
    epochs = [balanced_sample_ids(1, epoch, LONGTAILED, 83)[:, 1] for epoch in range(4)]
    assert len({tuple(order) for order in epochs}) == 4
    assert np.array_equal(balanced_sample_ids(1, 2, LONGTAILED, 83)[:, 1], epochs[2])
    first_of_largest = [set(order[LONGTAILED[order] == 0]) for order in epochs]
    assert first_of_largest[0] != first_of_largest[1]  # which 16 or 17 of its 50 images come differs, too


def test_classes_are_mixed_within_a_balanced_epoch() -> None:
    labels = LONGTAILED[balanced_sample_ids(1, 0, LONGTAILED, 250)[:, 1]]
    assert np.count_nonzero(np.diff(labels)) > 150  # 5 classes in random order change at 4/5 of the 249 places


@pytest.mark.parametrize("first_step", range(6))
def test_resuming_at_a_step_gives_the_tail_of_the_epoch(first_step: int) -> None:
    sample_ids = shuffled_sample_ids(1, 2, 18)
    batches = BatchPlanner(4)
    batches.start(sample_ids, first_step=0)
    whole = ids_of(batches)
    assert [len(batch) for batch in whole] == [4, 4, 4, 4, 2]
    assert np.array_equal(np.concatenate(whole), sample_ids)
    batches.start(sample_ids, first_step=first_step)
    assert len(batches) == max(5 - first_step, 0)
    tail = ids_of(batches)
    assert len(tail) == len(batches)
    assert all(map(np.array_equal, tail, whole[first_step:]))


def test_starting_another_epoch_does_not_change_one_under_way() -> None:
    batches = BatchPlanner(2)
    first, second = sequential_sample_ids(0, 4), sequential_sample_ids(1, 4)
    batches.start(first, first_step=0)
    under_way = iter(batches)
    waiting = iter(batches)
    head = next(under_way).sample_ids
    batches.start(second, first_step=1)
    assert np.array_equal(np.concatenate([head, *ids_of(under_way)]), first)
    assert np.array_equal(np.concatenate(ids_of(waiting)), first)
    assert np.array_equal(np.concatenate(ids_of(batches)), second[2:])


@pytest.mark.parametrize(
    ("num_images", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (5, 4, [5]), (1, 4, [1]), (3, 1, [1, 1, 1]), (2, 4, [2])],
)
def test_an_image_left_over_alone_joins_the_batch_before_it(num_images: int, batch_size: int, sizes: list[int]) -> None:
    batches = BatchPlanner(batch_size)
    batches.start(sequential_sample_ids(3, num_images), first_step=0)
    cut = ids_of(batches)
    assert [len(sample_ids) for sample_ids in cut] == sizes
    assert len(batches) == len(sizes)
    np.testing.assert_array_equal(np.concatenate(cut), sequential_sample_ids(3, num_images))


@pytest.mark.parametrize("size", [1, 2, 3, 11])
def test_each_process_plans_its_shard_of_every_batch(size: int) -> None:
    sample_ids = shuffled_sample_ids(1, 2, 83)
    planners = [BatchPlanner(35) for _ in range(size)]
    for rank, planner in enumerate(planners):
        planner.start(sample_ids, rank=rank, size=size)
    for batch, plans in zip(
        (sample_ids[:35], sample_ids[35:70], sample_ids[70:]), zip(*planners, strict=True), strict=True
    ):
        assert [plan.shard for plan in plans] == [shard_of(len(batch), rank, size) for rank in range(size)]
        for plan in plans:
            np.testing.assert_array_equal(plan.sample_ids, batch[plan.shard.begin : plan.shard.end])

"""How a batch is cut: whole groups, and each image counted once."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from base import BatchShard, shard_of
from base.batch_shards import groups

SIZES = st.integers(1, 5000)
COUNTS = st.integers(1, 70)


def images_of(begin: int, end: int) -> list[int]:
    return list(range(begin, end))


def shards_of(batch_size: int, size: int) -> list[BatchShard]:
    return [shard_of(batch_size, rank, size) for rank in range(size)]


def number_of_groups(begin: int, end: int, batch_size: int) -> int:
    """Groups from `begin` to `end`, which must both stand between two groups."""
    bounds = [0, *(end for _, end in groups(batch_size))]
    return bounds.index(end) - bounds.index(begin)


# -- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        (1, [1]),
        (2, [2]),
        (3, [3]),
        (4, [2, 2]),
        (5, [2, 3]),
        (14, [2] * 7),
        (16, [2] * 8),
        (17, [2] * 7 + [3]),
        (24, [3] * 8),
        (32, [4] * 8),
        (35, [4] * 8 + [3]),
        (64, [8] * 8),
        (78, [9] * 8 + [6]),
        (128, [16] * 8),
        (129, [16] * 7 + [17]),
        (512, [16] * 32),
    ],
)
def test_groups_by_hand(batch_size: int, expected: list[int]) -> None:
    """⌊B/8⌋ images each, 2 at least and 16 at most; one left over joins the last."""
    assert [end - begin for begin, end in groups(batch_size)] == expected


@settings(max_examples=300, deadline=None)
@given(SIZES)
def test_groups_are_runs_of_images_without_gap_or_overlap(batch_size: int) -> None:
    assert [i for begin, end in groups(batch_size) for i in images_of(begin, end)] == images_of(0, batch_size)


@settings(max_examples=300, deadline=None)
@given(SIZES)
def test_nobody_is_alone_in_a_group_but_in_a_batch_of_one(batch_size: int) -> None:
    sizes = [end - begin for begin, end in groups(batch_size)]
    assert min(sizes) >= min(batch_size, 2)
    assert max(sizes) <= 17
    assert len(set(sizes[:-1])) <= 1
    assert batch_size < 16 or len(sizes) >= 8


# -- shards of processes ----------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(SIZES, COUNTS)
def test_the_shards_that_count_partition_a_batch_into_whole_groups(batch_size: int, size: int) -> None:
    shards = shards_of(batch_size, size)
    counting = [shard for shard in shards if not shard.is_placeholder]
    assert list(chain.from_iterable(images_of(shard.begin, shard.end) for shard in counting)) == images_of(
        0, batch_size
    )
    held = [number_of_groups(shard.begin, shard.end, batch_size) for shard in counting]
    assert len(counting) == min(size, len(groups(batch_size)))
    assert max(held) - min(held) <= 1, "even to one group"
    assert {shard.total for shard in shards} == {batch_size}


@settings(max_examples=300, deadline=None)
@given(SIZES, COUNTS)
def test_a_borrowed_shard_is_a_group_that_does_not_count(batch_size: int, size: int) -> None:
    shards = shards_of(batch_size, size)
    for shard in shards:
        assert len(shard) == shard.end - shard.begin >= 1, "nobody may stay away from the exchange of gradients"
        assert shard.num_counted == (len(shard) if not shard.is_placeholder else 0)
        if shard.is_placeholder:
            assert (shard.begin, shard.end) in groups(batch_size)
            assert shard.weight == 0
    assert sum(shard.num_counted for shard in shards) == batch_size
    assert sum(shard.weight for shard in shards) == pytest.approx(1, abs=1e-12)
    assert not shards[0].is_placeholder, "rank 0 always has images of its own"


def test_shards_by_hand() -> None:
    """35 images: eight groups of four and one of three, for two, and for nine that are eleven processes."""
    assert [(shard.begin, shard.end) for shard in shards_of(35, 2)] == [(0, 20), (20, 35)]
    eleven = shards_of(35, 11)
    assert sorted(len(shard) for shard in eleven if not shard.is_placeholder) == [3] + [4] * 8
    assert [(shard.begin, shard.end, shard.num_counted, shard.weight) for shard in eleven if shard.is_placeholder] == [
        (32, 35, 0, 0.0)
    ] * 2
    assert shards_of(32, 1) == [BatchShard(0, 32, 32)]
    assert [shard.weight for shard in shards_of(32, 4)] == [0.25] * 4


# -- micro-batches ----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(SIZES, COUNTS, COUNTS, st.data())
def test_micro_batches_partition_a_shard_into_whole_groups(
    batch_size: int, size: int, count: int, data: st.DataObject
) -> None:
    shard = shard_of(batch_size, data.draw(st.integers(0, size - 1)), size)
    parts = shard.split(count)
    assert [part.begin for part in parts] == [shard.begin, *(part.end for part in parts[:-1])]
    assert parts[-1].end == shard.end
    held = [number_of_groups(part.begin, part.end, batch_size) for part in parts]
    assert min(held) >= 1
    assert max(held) - min(held) <= 1
    assert len(parts) == min(count, number_of_groups(shard.begin, shard.end, batch_size))
    assert {(part.total, part.is_placeholder) for part in parts} == {(batch_size, shard.is_placeholder)}
    assert sum(part.weight for part in parts) == pytest.approx(shard.weight, abs=1e-12)


def test_the_mean_of_the_parts_by_weight_is_that_of_the_whole() -> None:
    """The losses of micro-batches of all processes, each a mean over its images and weighed by its part."""
    values = torch.rand(78, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in (1, 2, 3, 4, 5, 8, 9, 40):
        parts = [part for shard in shards_of(78, size) for part in shard.split(3)]
        total = sum(part.weight * float(values[part.begin : part.end].mean()) for part in parts)
        assert total == pytest.approx(float(values.mean()), abs=1e-12)

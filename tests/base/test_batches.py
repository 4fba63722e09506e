"""Batches: cut by their shard, whichever part of the global batch they are, and transformed as their loader says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from base import Batch, View, count_batches, shard_of
from base.batch_shards import groups


def plus_ids(images: Tensor, sample_ids: np.ndarray, view: View) -> Tensor:
    """A transform that shows what it was given."""
    return images.float() + torch.from_numpy(sample_ids[:, 1, None, None, None]) + (1000 if view == "strong" else 0)


def batch_of(size: int, rank: int, processes: int) -> Batch:
    shard = shard_of(size, rank, processes)
    rows = np.arange(shard.begin, shard.end)
    images = torch.from_numpy(rows).to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return Batch(images, torch.from_numpy(rows % 7), np.stack([rows * 0, rows * 10, rows * 0], 1), shard, plus_ids)


@pytest.mark.parametrize(("rank", "processes"), [(0, 1), (0, 2), (1, 2), (10, 11)])
@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_a_batch_splits_into_micro_batches_of_whole_groups(rank: int, processes: int, count: int) -> None:
    batch = batch_of(35, rank, processes)
    parts = batch.split(count)
    assert [part.shard for part in parts] == batch.shard.split(count)
    for part in parts:
        expected = range(part.shard.begin, part.shard.end)
        assert part.images[:, 0, 0, 0].tolist() == list(expected)
        assert part.targets.tolist() == [row % 7 for row in expected]
        assert part.sample_ids[:, 1].tolist() == [row * 10 for row in expected]
        assert part.shard.begin in {begin for begin, _ in groups(35)}
    assert torch.equal(torch.cat([part.view() for part in parts]), batch.view())


def test_a_placeholder_stays_one_when_it_is_split() -> None:
    placeholder = next(batch for rank in range(11) if (batch := batch_of(35, rank, 11)).shard.is_placeholder)
    assert [part.shard.is_placeholder for part in placeholder.split(4)] == [True]
    assert placeholder.shard.weight == 0


def test_a_view_is_what_the_transform_makes_of_the_images_and_their_ids() -> None:
    batch = batch_of(8, 1, 2).to(torch.device("cpu"))
    assert batch.view()[:, 0, 0, 0].tolist() == [44, 55, 66, 77]
    assert batch.view("strong")[:, 0, 0, 0].tolist() == [1044, 1055, 1066, 1077]


@pytest.mark.parametrize(
    ("num_images", "batches"), [(1, 1), (2, 1), (63, 1), (64, 1), (65, 1), (66, 2), (128, 2), (129, 2), (130, 3)]
)
def test_an_image_left_over_alone_makes_no_batch(num_images: int, batches: int) -> None:
    assert count_batches(num_images, 64) == batches

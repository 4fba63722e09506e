"""The order of an epoch: which sample comes when, as sample ids (epoch, index, repeat): functions of seed and epoch.

Repeats are below 2²⁷. Above them stand the number of the split (3 bits: an image may be in two splits that are trained
on) and, while a view is made, the view's (see `data_loader.transforms.pipeline`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from base import BatchShard, count_batches, shard_of
from utils.random_streams import Stream, uniforms

_SPLIT_SHIFT = 27


def _sample_ids(epoch: int, indices: np.ndarray, repeats: np.ndarray | int = 0) -> np.ndarray:
    sample_ids = np.empty((len(indices), 3), np.int64)
    sample_ids[:, 0], sample_ids[:, 1], sample_ids[:, 2] = epoch, indices, repeats
    return sample_ids


def sequential_sample_ids(epoch: int, num_images: int, *, split: int = 0) -> np.ndarray:
    """Every image of split number `split` once, in file order: int64, shape [N, 3]."""
    return _sample_ids(epoch, np.arange(num_images), split << _SPLIT_SHIFT)


def shuffled_sample_ids(seed: int, epoch: int, num_images: int, *, split: int = 0) -> np.ndarray:
    """Every image of split number `split` once, in an order of this epoch's and split's own: int64, shape [N, 3]."""
    sample_ids = sequential_sample_ids(epoch, num_images, split=split)
    return sample_ids[np.argsort(uniforms(seed, Stream.ORDER, sample_ids, 2)[:, 1], kind="stable")]


def balanced_epoch_length(class_counts: np.ndarray, *, retain_epoch_size: bool) -> int:
    """Draws an epoch under class-balanced sampling: N, or as many as show every image of the largest class."""
    present = int((class_counts > 0).sum())
    return int(class_counts.sum()) if retain_epoch_size else int(class_counts.max()) * present


def balanced_sample_ids(seed: int, epoch: int, targets: np.ndarray, length: int) -> np.ndarray:
    """Every class equally often (to within one draw), its images in turn before any comes again.

    Args:
        seed: the run's seed.
        epoch: the epoch.
        targets: labels, shape [N].
        length: samples an epoch.

    Returns:
        int64, shape [length, 3]; `repeat` counts how often the epoch has drawn the image before.
    """
    classes, counts = np.unique(targets, return_counts=True)
    extra = (np.arange(len(classes)) - epoch) % len(classes) < length % len(classes)
    sample_ids_by_class = []
    for label, count, wanted in zip(classes, counts, length // len(classes) + extra, strict=True):
        rounds = -(-int(wanted) // int(count))
        indices = np.flatnonzero(targets == label)
        sample_ids = _sample_ids(epoch, np.tile(indices, rounds), np.repeat(np.arange(rounds), count))
        within = uniforms(seed, Stream.ORDER, sample_ids, 2)[:, 0]
        sample_ids_by_class.append(sample_ids[np.lexsort((within, sample_ids[:, 2]))][:wanted])
    sample_ids = np.concatenate(sample_ids_by_class)
    return sample_ids[np.argsort(uniforms(seed, Stream.ORDER, sample_ids, 2)[:, 1], kind="stable")]


class BatchPlan(NamedTuple):
    """What a process reads for a step.

    Attributes:
        sample_ids: of the images of its shard: int64, shape [B, 3].
        shard: where they stand in the global batch.
    """

    sample_ids: np.ndarray
    shard: BatchShard


class BatchPlanner(Sampler[BatchPlan]):
    """Cuts an epoch into batches, and each batch into shards, for torch's DataLoader; `start` says which comes next."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._plans: list[BatchPlan] = []

    def start(
        self, sample_ids: np.ndarray, *, first_step: int = 0, every: int = 1, rank: int = 0, size: int = 1
    ) -> None:
        """Set the sample ids [N, 3] of the epoch that the next iteration yields; see `BaseDataLoader.epoch`."""
        count = count_batches(len(sample_ids), self.batch_size)
        bounds = [step * self.batch_size for step in range(count)] + [len(sample_ids)]
        batches = [sample_ids[bounds[step] : bounds[step + 1]] for step in range(first_step, count, every)]
        shards = [shard_of(len(batch), rank, size) for batch in batches]
        self._plans = [
            BatchPlan(batch[shard.begin : shard.end], shard) for batch, shard in zip(batches, shards, strict=True)
        ]

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self._plans)  # this list: a later `start` must not change an epoch under way

    def __len__(self) -> int:
        return len(self._plans)

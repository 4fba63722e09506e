"""The order of an epoch: which sample comes when, as sample ids (epoch, index, repeat): functions of seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from base import count_batches, share_of
from utils.random_streams import Stream, uniforms


def _sample_ids(epoch: int, indices: np.ndarray, repeats: np.ndarray | int = 0) -> np.ndarray:
    sample_ids = np.empty((len(indices), 3), np.int64)
    sample_ids[:, 0], sample_ids[:, 1], sample_ids[:, 2] = epoch, indices, repeats
    return sample_ids


def sequential_sample_ids(epoch: int, num_images: int) -> np.ndarray:
    """Every image once, in file order: int64, shape [N, 3]."""
    return _sample_ids(epoch, np.arange(num_images))


def shuffled_sample_ids(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """Every image once, in an order of this epoch's own: int64, shape [N, 3]."""
    sample_ids = sequential_sample_ids(epoch, num_images)
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
    drawn = []
    for label, count, wanted in zip(classes, counts, length // len(classes) + extra, strict=True):
        rounds = -(-int(wanted) // int(count))
        indices = np.flatnonzero(targets == label)
        sample_ids = _sample_ids(epoch, np.tile(indices, rounds), np.repeat(np.arange(rounds), count))
        within = uniforms(seed, Stream.ORDER, sample_ids, 2)[:, 0]
        drawn.append(sample_ids[np.lexsort((within, sample_ids[:, 2]))][:wanted])
    sample_ids = np.concatenate(drawn)
    return sample_ids[np.argsort(uniforms(seed, Stream.ORDER, sample_ids, 2)[:, 1], kind="stable")]


class SampleIdBatches(Sampler[np.ndarray]):
    """Cuts an epoch's sample ids into batches for torch's DataLoader; `start` says which epoch comes next."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._batches: list[np.ndarray] = []

    def start(
        self, sample_ids: np.ndarray, *, first_step: int = 0, every: int = 1, rank: int = 0, size: int = 1
    ) -> None:
        """Set the keys of the epoch that the next iteration yields; see `BaseDataLoader.epoch` for the rest."""
        count = count_batches(len(sample_ids), self.batch_size)
        bounds = [step * self.batch_size for step in range(count)] + [len(sample_ids)]
        batches = [sample_ids[bounds[step] : bounds[step + 1]] for step in range(first_step, count, every)]
        shares = [share_of(len(batch), rank, size) for batch in batches]
        self._batches = [batch[share.begin : share.end] for batch, share in zip(batches, shares, strict=True)]

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._batches)  # this list: a later `start` must not change an epoch under way

    def __len__(self) -> int:
        return len(self._batches)

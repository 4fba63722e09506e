"""What the trainer and the evaluation are given: batches of raw images, and the transform for the device."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor


def count_batches(num_images: int, batch_size: int) -> int:
    """Batches an epoch; the last may be smaller than the others, or larger by one.

    A single image left over joins the batch before it: BatchNorm has nothing to normalise one image's 1×1 feature
    map by.
    """
    return max(num_images // batch_size, 1) if num_images % batch_size == 1 else math.ceil(num_images / batch_size)


class Batch(NamedTuple):
    """One batch as it leaves the loader, or a process's share of one.

    Attributes:
        images: uint8, shape [B, 3, H, W].
        targets: int64, shape [B].
        keys: int64, shape [B, 3]: epoch, sample index, repeat; everything random about a sample follows from them.
    """

    images: Tensor
    targets: Tensor
    keys: np.ndarray

    def cut(self, begin: int, end: int) -> Batch:
        """Images `begin` … `end` − 1 of the batch."""
        return Batch(self.images[begin:end], self.targets[begin:end], self.keys[begin:end])


class BaseDataLoader(ABC):
    """Batches of one split; `split_validation` and `split_test` give the loaders of the others."""

    batch_size: int

    @property
    @abstractmethod
    def cls_num_list(self) -> list[int]:
        """Training images of each class, length C, whichever split this loader reads."""

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """A name for each class, length C."""

    @property
    @abstractmethod
    def targets(self) -> np.ndarray:
        """The labels of this loader's split, int64, shape [N]."""

    @property
    @abstractmethod
    def num_images(self) -> int:
        """Images an epoch."""

    @abstractmethod
    def epoch(
        self, epoch: int, *, first_step: int = 0, every: int = 1, rank: int = 0, size: int = 1
    ) -> Iterator[Batch]:
        """The batches of an epoch in their order.

        Args:
            epoch: which; the order of a training split is a function of it.
            first_step: begin with this batch (counted from 0).
            every: and take every so many-th one from there: how processes share an evaluation.
            rank: of each batch the share of process `rank` of `size`, see `base.shares`: how they share training.
            size: processes that share a batch.
        """

    @abstractmethod
    def transform(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """Raw images [B, 3, H, W] on the device → the network's input, float32 [B, 3, H, W]: augmented, normalised."""

    @abstractmethod
    def split_validation(self) -> BaseDataLoader:
        """The loader of the validation split."""

    @abstractmethod
    def split_test(self) -> BaseDataLoader:
        """The loader of the test split."""

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.cls_num_list)

    def __len__(self) -> int:
        """Batches an epoch, see `count_batches`."""
        return count_batches(self.num_images, self.batch_size)

    def images_of_step(self, step: int) -> int:
        """Images of the global batch of a step (counted from 0)."""
        last = len(self) - 1
        return self.batch_size if step < last else self.num_images - last * self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0."""
        return self.epoch(0)

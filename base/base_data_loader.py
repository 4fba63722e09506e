"""What the trainer and the evaluation are given: batches of raw images, and the transform for the device."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from torch import Tensor

from base.batch_shards import BatchShard
from utils.device_copies import to_device


def count_batches(num_images: int, batch_size: int) -> int:
    """Batches an epoch; the last may be smaller than the others, or larger by one.

    A single image left over joins the batch before it: BatchNorm has nothing to normalise one image's 1×1 feature
    map by.
    """
    return max(num_images // batch_size, 1) if num_images % batch_size == 1 else math.ceil(num_images / batch_size)


View = Literal["train", "weak", "strong", "test"]
"""How images are augmented: as the configuration says, weakly, strongly, or not at all."""

CPU = torch.device("cpu")

VIEWS: tuple[View, ...] = get_args(View)

Transform = Callable[[Tensor, np.ndarray, View], Tensor]
"""(raw images [B, 3, H, W], sample ids [B, 3], view) → the network's input, float32 [B, 3, H, W]."""


class Batch(NamedTuple):
    """A process's shard of a global batch, or a part of it, as it leaves the loader.

    Attributes:
        images: uint8, shape [B, 3, H, W].
        targets: int64, shape [B].
        sample_ids: int64, shape [B, 3]: epoch, sample index, repeat; what is random about a sample follows from them.
        shard: where these images stand in the global batch.
        transform: the loader's; see `BaseDataLoader.transform`.
    """

    images: Tensor
    targets: Tensor
    sample_ids: np.ndarray
    shard: BatchShard
    transform: Transform

    def view(self, view: View = "train") -> Tensor:
        """The images as the network takes them, float32 [B, 3, H, W], augmented as `view` says."""
        return self.transform(self.images, self.sample_ids, view)

    def to(self, device: torch.device) -> Batch:
        """The batch with images and targets on a device."""
        images, targets = (to_device(tensor, device) for tensor in (self.images, self.targets))
        return self._replace(images=images, targets=targets)

    def split(self, count: int) -> list[Batch]:
        """The batch cut into at most `count` micro-batches of whole groups (see `BatchShard.split`)."""
        return [self] if count == 1 else [self._part(shard) for shard in self.shard.split(count)]

    def _part(self, shard: BatchShard) -> Batch:
        rows = slice(shard.begin - self.shard.begin, shard.end - self.shard.begin)
        return self._replace(
            images=self.images[rows], targets=self.targets[rows], sample_ids=self.sample_ids[rows], shard=shard
        )


class BaseDataLoader(ABC):
    """Batches of one split; `of_split` gives the loaders of the others."""

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
    def unreadable(self) -> np.ndarray:
        """Which images of this split were found to be unreadable, and skipped, so far: indices, int64."""
        return np.empty(0, np.int64)

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
            rank: of each batch the shard of process `rank` of `size`, see `base.batch_shards`: how they share training.
            size: processes that share a batch.
        """

    @abstractmethod
    def transform(self, images: Tensor, sample_ids: np.ndarray, view: View = "train") -> Tensor:
        """Raw images [B, 3, H, W] on the device → the network's input, float32 [B, 3, H, W]: augmented, normalised.

        What is random about an image follows from the seed, its sample id and the view. The views finish what the
        loader's workers have begun (see `prepare_views`), so this is for the images that the loader hands out. On a
        split that is evaluated "train" is the same as "test".

        Raises:
            RuntimeError: the workers have prepared the images for another view.
        """

    @abstractmethod
    def prepare_views(self, views: tuple[View, ...], device: torch.device = CPU) -> None:
        """Say which views `transform` will be asked for, if they are not ("train",) alone; before the first epoch.

        The workers do the slow transforms of a view that is alone; of several they leave all to `transform`.

        Args:
            views: each of them once.
            device: where the batches will be used; images in memory may be moved there for good.

        Raises:
            RuntimeError: an epoch has begun with other views.
        """

    @abstractmethod
    def of_split(self, name: str) -> Self:
        """The loader of another split of the data set: "train", "validation", "test", or what else it has.

        It is prepared for the view "train".

        Raises:
            KeyError: the data set has no such split.
        """

    def split_validation(self) -> Self:
        """The loader of the validation split."""
        return self.of_split("validation")

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

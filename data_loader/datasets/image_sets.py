"""Sets of images that can be read by sample id: raw uint8 images of one size, and their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from base import BatchShard
from data_loader.datasets.contents import Contents, contents_of_array
from data_loader.sampling import BatchPlan
from data_loader.transforms.pipeline import Pipeline
from utils.device_copies import free_memory, to_device
from utils.errors import UserError

_SHARE = 1 / 16  # of the free memory; CIFAR-LT has 33 MB


class ImageSet(ABC):
    """Labelled images of one split.

    Attributes:
        targets: int64 labels, shape [N].
        reads_files: reading an image costs a file and a decoder, so that workers pay off.
    """

    targets: np.ndarray
    reads_files: bool

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def read(self, sample_ids: np.ndarray) -> Tensor:
        """The images that sample_ids [B, 3] name: uint8, shape [B, 3, H, W]."""

    def read_labelled(self, sample_ids: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The images of sample ids [B, 3] and their labels [B]."""
        return self.read(sample_ids), self.targets[sample_ids[:, 1]]

    def files(self) -> Iterator[str]:
        """The file of each image that has one of its own, by a name that is the same however its path is spelled."""
        return iter(())

    @abstractmethod
    def contents(self) -> Contents:
        """What the images hold now, in digests, by which to tell later whether they are still the same."""

    @abstractmethod
    def subset(self, indices: np.ndarray) -> ImageSet:
        """The images at `indices`, in that order."""


class ArraySet(ImageSet):
    """Images held in memory.

    Args:
        images: uint8, shape [N, 3, H, W].
        targets: int64, shape [N].
    """

    reads_files = False

    def __init__(self, images: Tensor, targets: np.ndarray) -> None:
        self.images = images
        self.targets = targets

    def read(self, sample_ids: np.ndarray) -> Tensor:
        """The images that sample_ids [B, 3] name: uint8, shape [B, 3, H, W]."""
        return self.images[to_device(sample_ids[:, 1], self.images.device)]

    def near(self, device: torch.device) -> ArraySet:
        """The same images on a device, where they take a small part of its free memory; else as they are."""
        size = self.images.numel() * self.images.element_size()
        return ArraySet(self.images.to(device), self.targets) if size <= _SHARE * free_memory(device) else self

    def contents(self) -> Contents:
        """Of the pixels."""
        return contents_of_array(self.images.numpy())

    def subset(self, indices: np.ndarray) -> ArraySet:
        """The images at `indices`, in that order."""
        return ArraySet(self.images[torch.from_numpy(indices)], self.targets[indices])


class ReadBatch(NamedTuple):
    """A shard of a batch as the workers hand it over: a `base.Batch` but for its transform, a function.

    Tensors go through shared memory, arrays through pipes.
    """

    images: Tensor | np.ndarray
    targets: np.ndarray
    sample_ids: np.ndarray
    shard: BatchShard


class BatchDataset(Dataset[ReadBatch]):
    """What torch's DataLoader fetches from: a whole shard for a plan.

    Args:
        images: the split's images.
        pipeline: its part for the workers is done on them; None: they stay raw.
        shares_memory: hand images over in shared memory, as long as it suffices; else as arrays.
    """

    def __init__(self, images: ImageSet, pipeline: Pipeline | None, *, shares_memory: bool) -> None:
        self.images = images
        self.pipeline = pipeline
        self.shares_memory = shares_memory

    def __getitems__(self, plan: BatchPlan) -> ReadBatch | UserError:
        """The images that a plan names.

        A mistake of the user is handed over as a value: raised in a worker it would arrive wrapped in a traceback.
        """
        try:
            images, targets = self.images.read_labelled(plan.sample_ids)
        except UserError as error:
            return error
        if self.pipeline is not None:
            images = self.pipeline.begin(images, plan.sample_ids)
        return ReadBatch(self._handed_over(images), targets, plan.sample_ids, plan.shard)

    def _handed_over(self, images: Tensor) -> Tensor | np.ndarray:
        """Moved into shared memory here: the thread in which torch does so would lose the batch where it is full.

        What lies on another device than the CPU was read by the process that trains, and stays there.
        """
        if images.device.type != "cpu":
            return images
        if self.shares_memory:
            try:
                return images.share_memory_()
            except RuntimeError:  # full
                pass
        return images.numpy()

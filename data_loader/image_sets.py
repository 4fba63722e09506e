"""Sets of images that can be read by key: raw uint8 images of one size, and their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from base import Batch
from data_loader.batch_transforms import BatchTransform
from data_loader.pipeline import apply_all


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
    def read(self, keys: np.ndarray) -> Tensor:
        """The images that keys [B, 3] name: uint8, shape [B, 3, H, W]."""

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

    def read(self, keys: np.ndarray) -> Tensor:
        """The images that keys [B, 3] name: uint8, shape [B, 3, H, W]."""
        return self.images[torch.from_numpy(keys[:, 1])]

    def subset(self, indices: np.ndarray) -> ArraySet:
        """The images at `indices`, in that order."""
        return ArraySet(self.images[torch.from_numpy(indices)], self.targets[indices])


class KeyedBatches(Dataset[Batch]):
    """What torch's DataLoader fetches from: a whole batch for an array of keys."""

    def __init__(self, images: ImageSet, transforms: tuple[BatchTransform, ...]) -> None:
        self.images = images
        self.transforms = transforms

    def __getitems__(self, keys: np.ndarray) -> Batch:
        """The batch of keys [B, 3]; the part of the transforms that runs in the workers is done."""
        images = apply_all(self.transforms, self.images.read(keys), keys)
        return Batch(images, torch.from_numpy(self.images.targets[keys[:, 1]]), keys)

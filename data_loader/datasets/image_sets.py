"""Sets of images that can be read by key: raw uint8 images of one size, and their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from base import Batch
from data_loader.transforms.batch_transforms import BatchTransform
from data_loader.transforms.pipeline import apply_all
from utils.errors import UserError


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
        return self.images[torch.from_numpy(sample_ids[:, 1])]

    def subset(self, indices: np.ndarray) -> ArraySet:
        """The images at `indices`, in that order."""
        return ArraySet(self.images[torch.from_numpy(indices)], self.targets[indices])


class BatchDataset(Dataset[Batch]):
    """What torch's DataLoader fetches from: a whole batch for an array of keys."""

    def __init__(self, images: ImageSet, transforms: tuple[BatchTransform, ...]) -> None:
        self.images = images
        self.transforms = transforms

    def __getitems__(self, sample_ids: np.ndarray) -> Batch | UserError:
        """The batch of sample ids [B, 3]; the part of the transforms that runs in the workers is done.

        A mistake of the user is handed over as a value: raised in a worker it would arrive wrapped in a traceback.
        """
        try:
            images, targets = self.images.read_labelled(sample_ids)
        except UserError as error:
            return error
        return Batch(apply_all(self.transforms, images, sample_ids), torch.from_numpy(targets), sample_ids)

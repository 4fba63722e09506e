"""Any image files, brought to the size that a network was trained on: what nobody has labelled yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from base import View
from data_loader.datasets.decoding import ImageReader
from data_loader.datasets.file_set import FileSet
from data_loader.datasets.image_sets import ImageSet
from data_loader.datasets.splits import Splits
from data_loader.file_loader import FileDataLoader
from data_loader.loader import ImageDataLoader
from data_loader.transforms.batch_transforms import BatchTransform, Normalise
from data_loader.transforms.crops import CentreCrop
from utils.errors import UserError


@dataclass(kw_only=True, eq=False)
class GivenImagesLoader(ImageDataLoader):
    """Files in the order in which they are named; those that can't be read are left out and reported.

    Args:
        files: their paths.
        names: of the classes, length C.
        normalise: the last transform.
        crop: what brings an image to the network's size.
        reader: what decodes a file.
    """

    files: Sequence[str]
    names: list[str]
    normalise: Normalise
    crop: CentreCrop
    reader: ImageReader = field(default_factory=ImageReader)
    training: bool = False

    @classmethod
    def like(cls, loader: ImageDataLoader, files: Sequence[str], class_names: list[str]) -> GivenImagesLoader:
        """As the test images of another loader are read, which need not be there.

        Where that one has its images in memory, at one size: the shorter side is resized to it, the middle cut out.
        """
        side = loader.image_side
        crop, reader, batches = CentreCrop(side, side), ImageReader(None, True), -(-len(files) // loader.batch_size)
        if isinstance(loader, FileDataLoader):
            crop, reader = loader.test_crop, loader.reader
        return cls(
            files=files,
            names=class_names,
            normalise=loader.normalisation(),
            crop=crop,
            reader=reader,
            batch_size=loader.batch_size,
            num_workers=min(loader.num_workers, os.cpu_count() or 1, batches),  # more would only take turns
            worker_timeout=loader.worker_timeout,
            seed=loader.seed,
        )

    def load_splits(self) -> Splits[ImageSet]:
        """All files are the one split that there is; their labels are unknown, and 0."""
        paths = np.array([os.fsencode(path) for path in self.files], np.bytes_)
        images = FileSet("", paths, np.zeros(len(paths), np.int64), self.crop, self.reader)
        return Splits(dict.fromkeys(("train", "validation", "test"), images), self.names).map(
            lambda images: images.for_evaluation(on_bad_image="skip")
        )

    @property
    def in_words(self) -> str:
        """How the network sees the images: what is done to a file's pixels before they are normalised."""
        turned = "turned" if self.reader.apply_exif else "not turned"
        side = self.crop.size
        return (
            f"{turned} as their EXIF orientation says, the shorter side resized to {self.crop.resized}, "
            f"the middle {side} × {side} pixels"
        )

    def pixels(self) -> np.ndarray:
        """All of them as the network sees them, before they are normalised: uint8, [N, S, S, 3].

        Raises:
            UserError: one can't be read.
        """
        images = torch.as_tensor(self.images.read(self.epoch_sample_ids(0)))
        if len(self.unreadable):
            raise UserError(f"{self.files[self.unreadable[0]]}: can't be read")
        return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())  # [N, 3, S, S] → [N, S, S, 3]

    @property
    def unreadable(self) -> np.ndarray:
        """Indices of the files that could not be read so far."""
        assert isinstance(self.images, FileSet)
        return self.images.unreadable

    def augmentation(self, view: View) -> Sequence[BatchTransform]:
        """Nothing is trained on these."""
        return ()

    def normalisation(self) -> Normalise:
        """That of the network's images."""
        return self.normalise

    @property
    def image_side(self) -> int:
        """Pixels along a side of what the network sees."""
        return self.crop.size

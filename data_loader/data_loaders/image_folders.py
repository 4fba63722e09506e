"""The loader of a user's own images: a folder for each class."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from data_loader.datasets.class_folders import find_classes, find_images, skipped_files_line
from data_loader.datasets.longtail import stratified_split
from data_loader.datasets.splits import Splits
from data_loader.file_loader import FileDataLoader
from data_loader.lists.list_files import ImageList
from utils.config.ranges import Range
from utils.errors import UserError

__all__ = ["ImageFolderDataLoader"]

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class ImageFolderDataLoader(FileDataLoader):
    """A folder for each class; the folders' names are the classes' names.

    Where `data_dir` holds `train/` and `val/` or `test/` (or all three) with the class folders in them, these are the
    splits; if `val/` or `test/` is missing, the other serves as both. Otherwise the class folders lie in `data_dir`
    or in `train/`, and parts of every class are held out: the same ones whatever the seed.

    Args:
        test_fraction: part of each class held out for testing, where there is no `val/` or `test/`.
        val_fraction: likewise for validation; 0: the test images.

    Attributes:
        skipped_files: files that are no images, by extension; known once the folders have been walked through.
    """

    shifts_are_listed: ClassVar[bool] = False  # there is no benchmark whose images they would have to be

    test_fraction: Annotated[float, Range(low=0, high=0.8, low_open=True)] = 0.2
    val_fraction: Annotated[float, Range(low=0, high=0.8)] = 0.1
    skipped_files: Counter[str] = field(init=False, repr=False, default_factory=Counter)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_fraction + self.val_fraction > 0.9:
            total = self.test_fraction + self.val_fraction
            raise ValueError(f"args.test_fraction: with val_fraction it takes {total:g} of the images; at most 0.9")

    def find_files(self) -> Splits[ImageList]:
        """Walk through the folders."""
        base = Path(self.data_dir)
        root = base / "train" if (base / "train").is_dir() else base
        names = find_classes(root)
        self.skipped_files.clear()
        images = find_images(root, names, base=base, skipped_files=self.skipped_files)
        counts = np.bincount(images.targets, minlength=len(names))
        if counts.min() == 0:
            raise UserError(f"{root / names[int(counts.argmin())]}: holds no image; each class needs one")
        given = [split for split in ("val", "test") if root != base and (base / split).is_dir()]
        if not given:
            self._log_skipped_files()
            return Splits(self._cut(images, len(names)), names)
        held_out = [find_images(base / split, names, base=base, skipped_files=self.skipped_files) for split in given]
        for split, part in zip(given, held_out, strict=True):
            if not len(part):
                raise UserError(f"{base / split}: holds no image")
        self._log_skipped_files()
        return Splits({"train": images, "validation": held_out[0], "test": held_out[-1]}, names)

    def inventory(self) -> tuple[list[str], list[str]]:
        """Every image in the folders."""
        files = self.find_files()
        paths = dict.fromkeys(os.fsdecode(path) for images in files.by_name.values() for path in images.paths)
        return [os.path.join(self.data_dir, path) for path in paths], []

    def _log_skipped_files(self) -> None:
        if self.skipped_files:
            _log.info("%s: %s", self.data_dir, skipped_files_line(self.skipped_files))

    def _cut(self, images: ImageList, num_classes: int) -> dict[str, ImageList]:
        """Training, validation and test images out of one folder's."""
        rest, test_indices = stratified_split(images.targets, self.test_fraction, num_classes)
        train, test = images.subset(rest), images.subset(test_indices)
        if not self.val_fraction:
            return {"train": train, "validation": test, "test": test}
        fraction = self.val_fraction / (1 - self.test_fraction)
        train_indices, validation_indices = stratified_split(train.targets, fraction, num_classes)
        return {"train": train.subset(train_indices), "validation": train.subset(validation_indices), "test": test}

"""The loader of a user's own images: a folder for each class."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from data_loader.datasets.class_folders import find_classes, find_images
from data_loader.datasets.folder_walk import FolderWalk, skipped_files_line
from data_loader.datasets.longtail import stratified_split
from data_loader.datasets.split_folders import SPLITS, SplitFolders, find_split_folders
from data_loader.datasets.splits import Splits
from data_loader.file_loader import FileDataLoader, Inventory
from data_loader.lists.list_files import ImageList
from data_loader.run_data import RunData, freeze_split
from utils.config.ranges import Range
from utils.errors import UserError, nearest

__all__ = ["ImageFolderDataLoader"]

_log = logging.getLogger(__name__)
_LISTED = 5


@dataclass(kw_only=True, eq=False)
class ImageFolderDataLoader(FileDataLoader):
    """A folder for each class; the folders' names are the classes' names.

    Where `data_dir` holds `train/` and `val/` or `test/` (or all three) with the class folders in them, these are the
    splits; if `val/` or `test/` is missing, the other serves as both. Otherwise the class folders lie in `data_dir`
    or in `train/`, and parts of every class are held out: the same ones whatever the seed. Other usual spellings
    (`Training`, `valid`, `dev`, …) are taken as well.

    Args:
        split_folders: the folders of "train", "val" and "test" in `data_dir`, where their names don't say it; "." is
            `data_dir` itself.
        test_fraction: part of each class held out for testing, where there is no `val/` or `test/`.
        val_fraction: likewise for validation; 0: the test images.
        apply_exif: turn images as their EXIF orientation says.

    Attributes:
        skipped_files: files that are no images and what else is passed over, by kind; known once the folders have
            been walked through.
    """

    shifts_are_listed: ClassVar[bool] = False  # there is no benchmark whose images they would have to be

    split_folders: dict[str, str] | None = None
    test_fraction: Annotated[float, Range(low=0, high=0.8, low_open=True)] = 0.2
    val_fraction: Annotated[float, Range(low=0, high=0.8)] = 0.1
    apply_exif: bool = True
    skipped_files: Counter[str] = field(init=False, repr=False, default_factory=Counter)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known: RunData | None = None
        if self.test_fraction + self.val_fraction > 0.9:
            total = self.test_fraction + self.val_fraction
            raise ValueError(f"args.test_fraction: with val_fraction it takes {total:g} of the images; at most 0.9")
        if unknown := set(self.split_folders or {}) - set(SPLITS):
            raise ValueError(f"args.split_folders: {min(unknown)!r} is no split; allowed: {', '.join(SPLITS)}")

    def take_up(self, known: RunData) -> None:
        """Labels follow the run's class names, and its split is the one that it has kept."""
        self.known = known

    def freeze(self, folder: Path) -> None:
        """As list files: see `data_loader.run_data`."""
        freeze_split(folder, self.find_files())

    @cached_property
    def cls_num_list(self) -> list[int]:
        """Training images of each class, as the run counted them where they are not here."""
        counts = np.bincount(self.splits["train"].targets, minlength=len(self.class_names)).tolist()
        known = self.known.class_counts if self.known is not None else None
        if not sum(counts) and known is None:
            raise UserError(
                f"{self.data_dir}: holds no training images, and the checkpoint doesn't say how many it had"
            )
        return counts if sum(counts) or known is None else known

    def find_files(self) -> Splits[ImageList]:
        """The run's own files, or those in the folders; they are looked for once."""
        return self._files

    @cached_property
    def _files(self) -> Splits[ImageList]:
        known, base = self.known, Path(self.data_dir)
        if known is None:
            return self._walk()
        if known.files is not None:
            self._tell_new_images(known)
            return Splits(known.files, known.class_names)
        if known.elsewhere and self._find_splits(FolderWalk()).train is None:
            return self._test_images(known)
        found = self._walk()
        if found.class_names != known.class_names:
            raise UserError(f"{base}: {_differences(found.class_names, known.class_names)}")
        return found

    def _test_images(self, known: RunData) -> Splits[ImageList]:
        """A folder for tests alone: all its images, under the run's labels; it need not have every class."""
        base = Path(self.data_dir)
        walk = FolderWalk()
        root = next(reversed(self._find_splits(walk).held_out), base)
        found = find_classes(root)
        if set(found) - set(known.class_names):
            raise UserError(f"{root}: {_differences(found, known.class_names)}")
        if missing := [name for name in known.class_names if name not in found]:
            _log.info("%s: no folder of %d of the run's classes: %s", root, len(missing), ", ".join(missing))
        images = find_images(root, known.class_names, base=base, walk=walk)
        self._tell_skipped_files(walk)
        return Splits(
            {"train": images.subset(np.empty(0, int)), "validation": images, "test": images}, known.class_names
        )

    def _tell_new_images(self, known: RunData) -> None:
        """What has come into the folder since the run was split is left aside: it must not move other images."""
        assert known.files is not None
        walked = self._walk()
        if walked.class_names != known.class_names:
            raise UserError(f"{self.data_dir}: {_differences(walked.class_names, known.class_names)}")
        ours = {path for images in known.files.values() for path in images.paths}
        added = {path for images in walked.by_name.values() for path in images.paths} - ours
        if added:
            text = "%s: %d images are new since the run was split, and are left aside; a new run takes them in"
            _log.warning(text, self.data_dir, len(added))

    def _walk(self) -> Splits[ImageList]:
        """The images in the folders, whatever a run knows."""
        base, walk = Path(self.data_dir), FolderWalk()
        folders = self._find_splits(walk)
        if folders.train is None and folders.held_out:
            told = (
                "no folder for training beside it by its name; rename that one, or set data_loader.args.split_folders"
            )
            raise UserError(f"{folders.held_out[0]}: {told}")
        root = folders.train or base
        names = find_classes(root)
        images = find_images(root, names, base=base, walk=walk)
        counts = np.bincount(images.targets, minlength=len(names))
        if counts.min() == 0:
            raise UserError(f"{root / names[int(counts.argmin())]}: holds no image; each class needs one")
        held_out = [find_images(folder, names, base=base, walk=walk) for folder in folders.held_out]
        for folder, part in zip(folders.held_out, held_out, strict=True):
            if not len(part):
                raise UserError(f"{folder}: holds no image")
        self._tell_skipped_files(walk)
        if not held_out:
            return Splits(self._cut(images, len(names)), names)
        return Splits({"train": images, "validation": held_out[0], "test": held_out[-1]}, names)

    def _find_splits(self, walk: FolderWalk) -> SplitFolders:
        return find_split_folders(Path(self.data_dir), self.split_folders, walk)

    def inventory(self) -> Inventory:
        """Every image in the folders."""
        return Inventory.of(self.data_dir, self.find_files().by_name)

    def _tell_skipped_files(self, walk: FolderWalk) -> None:
        self.skipped_files = walk.skipped
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


def _differences(found: Sequence[str], known: Sequence[str]) -> str:
    """How the class folders differ from the run's classes."""
    missing = [name for name in known if name not in found]
    new = [name for name in found if name not in known]
    parts = [f"no folder of {', '.join(missing[:_LISTED])}"] if missing else []
    parts += [f"new: {', '.join(new[:_LISTED])}{nearest(new[0], missing)}"] if new else []
    told = "; ".join(parts) or "in another order"
    return f"the class folders are not the run's ({told}); name them as they were, or start a new run"

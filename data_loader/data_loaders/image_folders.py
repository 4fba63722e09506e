"""The loader of a user's own images: a folder for each class."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from data_loader.datasets.class_folders import find_classes, find_images
from data_loader.datasets.copies import copies_to_training
from data_loader.datasets.folder_walk import FolderWalk, skipped_files_line
from data_loader.datasets.longtail import stratified_split
from data_loader.datasets.split_folders import SPLITS, SplitFolders, find_split_folders
from data_loader.datasets.splits import Splits
from data_loader.file_loader import FileDataLoader, Inventory
from data_loader.kept_split import KeptSplit, contents_of
from data_loader.lists.list_files import ImageList
from data_loader.run_changes import class_differences, missing_images, unseen
from data_loader.run_data import RunData
from utils.config.ranges import Range
from utils.errors import UserError

__all__ = ["ImageFolderDataLoader"]

_log = logging.getLogger(__name__)


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
        copies_in_training: an image whose very bytes are in several parts of the split is, with all its copies, in
            the one for training: what is learnt by heart is not tested.

    Attributes:
        skipped_files: files that are no images and what else is passed over, by kind; known once the folders have
            been walked through.
    """

    shifts_are_listed: ClassVar[bool] = False  # there is no benchmark whose images they would have to be
    keeps_split: ClassVar[bool] = True

    split_folders: dict[str, str] | None = None
    test_fraction: Annotated[float, Range(low=0, high=0.8, low_open=True)] = 0.2
    val_fraction: Annotated[float, Range(low=0, high=0.8)] = 0.1
    apply_exif: bool = True
    copies_in_training: bool = False
    skipped_files: Counter[str] = field(init=False, repr=False, default_factory=Counter)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_fraction + self.val_fraction > 0.9:
            total = self.test_fraction + self.val_fraction
            raise ValueError(f"args.test_fraction: with val_fraction it takes {total:g} of the images; at most 0.9")
        if unknown := set(self.split_folders or {}) - set(SPLITS):
            raise ValueError(f"args.split_folders: {min(unknown)!r} is no split; allowed: {', '.join(SPLITS)}")

    def find_files(self) -> Splits[ImageList]:
        """The run's own files, or those in the folders; they are looked for once."""
        return self._files

    @cached_property
    def _files(self) -> Splits[ImageList]:
        known, base = self.known, Path(self.data_dir)
        if known is None:
            return self._walk()
        if known.recalls and known.kept is not None:
            return Splits(known.kept.files, known.class_names)
        kept = None if known.recut else known.kept
        if kept is not None and (not known.moved or kept.is_in(base, known.parts)):
            return self._own_images(known, kept)
        if known.evaluates:
            folders = self._find_splits(FolderWalk())
            if folders.held_out or (known.elsewhere and folders.train is None):
                return self._test_images(known, folders)
        found = self._walk()
        if found.class_names != known.class_names:
            raise UserError(f"{base}: {class_differences(found.class_names, known.class_names)}")
        if not known.elsewhere:
            self._compare(found, known)
        return found

    def _test_images(self, known: RunData, folders: SplitFolders) -> Splits[ImageList]:
        """The images of folders for tests alone, under the run's labels; they need not have every class."""
        base, walk = Path(self.data_dir), FolderWalk()
        roots = folders.held_out or [base]
        found = sorted({name for root in roots for name in find_classes(root, walk)})
        if set(found) - set(known.class_names):
            raise UserError(f"{roots[-1]}: {class_differences(found, known.class_names)}")
        if missing := [name for name in known.class_names if name not in found]:
            _log.info("%s: no folder of %d of the run's classes: %s", roots[-1], len(missing), ", ".join(missing))
        parts = [find_images(root, known.class_names, base=base, walk=walk) for root in roots]
        self._tell_skipped_files(walk)
        test = parts[-1]
        if not len(test):
            raise UserError(f"{roots[-1]}: holds no image")
        validation = unseen(known, parts[0], base) if len(parts) > 1 else test
        return Splits(
            {"train": test.subset(np.empty(0, int)), "validation": validation, "test": test}, known.class_names
        )

    def _own_images(self, known: RunData, kept: KeptSplit) -> Splits[ImageList]:
        """The run's own; what has come into the folder since is left aside: it must not move other images."""
        base, walk = Path(self.data_dir), FolderWalk()
        folders = self._find_splits(walk)
        roots = [folder for folder in (folders.train, *folders.held_out) if folder is not None] or [base]
        found = sorted({name for root in roots for name in find_classes(root, walk)})
        missing = kept.missing(base, known.parts)
        if set(found) - set(known.class_names) or (missing and len(found) < len(known.class_names)):
            raise UserError(f"{base}: {class_differences(found, known.class_names)}")
        if missing:
            raise UserError(f"{base}: {missing_images(missing, evaluates=known.evaluates)}")
        images = [find_images(root, known.class_names, base=base, walk=walk) for root in roots]
        ours = {path for part in kept.files.values() for path in part.paths.tolist()}
        added = {path for part in images for path in part.paths.tolist()} - ours
        if added:
            text = "%s: %d images are new since the run was split, and are left aside; a new run takes them in"
            _log.warning(text, base, len(added))
        return Splits(kept.files, known.class_names)

    def _compare(self, found: Splits[ImageList], known: RunData) -> None:
        """Without the kept split: refuse images that would be split in another way, and tell of others."""
        if not (changed := known.changed_parts(found)):
            return
        told = f"{self.data_dir}: the images for {', '.join(changed)} are not those that the run began with"
        if not self._find_splits(FolderWalk()).held_out:
            raise UserError(
                f"{told}: split anew, they would be tested on what they were trained on; bring the run's folder "
                "`split` back beside the checkpoint, or evaluate on other images"
            )
        _log.warning(told)

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
        parts = {"train": images, "validation": held_out[0], "test": held_out[-1]} if held_out else None
        parts = parts or self._cut(images, len(names))
        if self.copies_in_training:
            paths = dict.fromkeys(path for part in parts.values() for path in part.paths.tolist())
            parts = copies_to_training(parts, contents_of(paths, base))
        return Splits(parts, names)

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

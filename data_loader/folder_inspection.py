"""What a folder of somebody's own images holds, in words, before anything is trained on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.folder_walk import FolderWalk, skipped_files_line
from data_loader.datasets.split_folders import find_split_folders
from data_loader.image_survey import kind_lines, survey
from data_loader.kept_split import contents_of
from utils.errors import UserError, printable
from utils.reporting.tables import table

PARTS = ("train", "validation", "test")
FEW_IMAGES = 5
_SHOWN = 5
_WORKERS_FROM = 1000  # images: fewer are read before processes have been started


@dataclass(frozen=True)
class FolderInspection:
    """What was found.

    Args:
        folder: that was looked at.
        class_names: C of them.
        counts: part of the split → images of each class, shape [C].
        sizes: width and height of each image that can be read, shape [N, 2].
        bad: file → why it can't be read.
        copies: files of one class with the same bytes.
        contradictions: files with the same bytes in several classes.
        remarks: what else is to be known: kinds of images, files that are passed over.
        held_out: the parts for validation and test were cut from the classes, not given as folders.
    """

    folder: str
    class_names: list[str]
    counts: dict[str, np.ndarray]
    sizes: np.ndarray
    bad: dict[str, str]
    copies: list[list[str]]
    contradictions: list[list[str]]
    remarks: list[str]
    held_out: bool

    @property
    def side(self) -> int:
        """Pixels of an image's shorter side, the median."""
        return int(np.median(self.sizes.min(axis=1)))

    @property
    def totals(self) -> np.ndarray:
        """Images of each class, [C]."""
        return np.sum(list(self.counts.values()), axis=0)

    def lines(self) -> list[str]:
        """The summary, line by line."""
        totals, names = self.totals, [printable(name) for name in self.class_names]
        (least_wide, least_high), (most_wide, most_high) = self.sizes.min(axis=0), self.sizes.max(axis=0)
        size = f"{least_wide}×{least_high} to {most_wide}×{most_high} pixels"
        rows = [
            [names[label], str(totals[label]), *(str(self.counts[part][label]) for part in PARTS)]
            for label in np.argsort(-totals, kind="stable")
        ]
        how = (
            "a fifth of each class is held out for the test, a tenth for validation" if self.held_out else "by folders"
        )
        few = [f"{names[label]} ({totals[label]})" for label in np.flatnonzero(totals < FEW_IMAGES)]
        is_moved = bool(self.copies or self.contradictions)
        copies = ["  copies that would be in training and test at once are all in training"] if is_moved else []
        return [
            f"{self.folder}: {totals.sum():,} images of {len(names)} classes, {totals.max():,} to {totals.min():,} a "
            f"class; {size}\n",
            table(["class", "images", "training", "validation", "test"], rows),
            f"\nsplit: {how}",
            *self.remarks,
            *_listed([f"{path}: {reason}" for path, reason in self.bad.items()], "can't be read, left out"),
            *_listed([" = ".join(group) for group in self.copies], "the same image several times"),
            *_listed(
                [" = ".join(group) for group in self.contradictions], "the same image in several classes, one is wrong"
            ),
            *copies,
            *_few_line(few),
        ]


def _few_line(few: Sequence[str]) -> list[str]:
    if not few:
        return []
    named = f"{', '.join(few[:_SHOWN])}{', …' * (len(few) > _SHOWN)}"
    return [
        f"fewer than {FEW_IMAGES} images: {named}: one test image at most, which says next to nothing of their accuracy"
    ]


def _listed(entries: Sequence[str], told: str) -> list[str]:
    """How many there are, and the first few; nothing where there are none."""
    if not entries:
        return []
    more = [f"  … and {len(entries) - _SHOWN:,} more"] if len(entries) > _SHOWN else []
    return [f"{told}: {len(entries):,}", *(f"  {printable(entry)}" for entry in entries[:_SHOWN]), *more]


def inspect_folder(loader: ImageFolderDataLoader, *, workers: int) -> FolderInspection:
    """Open every image of a folder.

    Args:
        loader: of the folder.
        workers: processes to read many images with.

    Raises:
        UserError: there is a single class, or a class of which no training image can be read.
    """
    base, files = Path(loader.data_dir), loader.find_files()
    names = files.class_names
    if len(names) == 1:
        raise UserError(
            f"{base}: holds a single class ({names[0]}): nothing to tell apart; it takes a folder for each of two or "
            "more classes"
        )
    parts = {id(files[part]): files[part] for part in PARTS}
    label_of = {
        path: label
        for images in parts.values()
        for path, label in zip(images.paths.tolist(), images.targets.tolist(), strict=True)
    }
    shown = {path: os.fsdecode(path) for path in label_of}
    places = {path: os.path.join(base, name) for path, name in shown.items()}
    findings = survey(list(places.values()), loader.reader, workers=workers if len(places) >= _WORKERS_FROM else 0)
    bad = {shown[path]: findings[place].reason for path, place in places.items() if findings[place].reason}
    _require_readable(loader, bad, names)
    same = _same_contents(label_of, base)
    groups = [(len({label_of[path] for path in group}), [shown[path] for path in group]) for group in same]
    good = [finding for finding in findings.values() if not finding.reason]
    skipped = [skipped_files_line(loader.skipped_files)] if loader.skipped_files else []
    counts = {part: np.bincount(loader.splits[part].targets, minlength=len(names)) for part in PARTS}
    if not counts["test"].any():
        raise UserError(f"{base}: no class has an image to spare for a test; it takes two of a class at least")
    return FolderInspection(
        folder=str(base),
        class_names=names,
        counts=counts,
        sizes=np.array([finding.size for finding in good]),
        bad=bad,
        copies=[group for classes, group in groups if classes == 1],
        contradictions=[group for classes, group in groups if classes > 1],
        remarks=[*kind_lines(good, loader.value_range), *skipped],
        held_out=not find_split_folders(base, loader.split_folders, FolderWalk()).held_out,
    )


def _require_readable(loader: ImageFolderDataLoader, bad: dict[str, str], names: Sequence[str]) -> None:
    """Each class needs a training image that can be read."""
    train = loader.find_files()["train"]
    trained = [os.fsdecode(path) for path in train.paths.tolist()]
    readable = np.bincount(train.targets[[path not in bad for path in trained]], minlength=len(names))
    if readable.min() > 0:
        return
    if not readable.any():
        first = next(path for path in trained if path in bad)
        raise UserError(f"{loader.data_dir}: none of the training images can be read; {first}: {bad[first]}")
    label = int(readable.argmin())
    mine = [path for path, target in zip(trained, train.targets, strict=True) if target == label]
    raise UserError(
        f"{loader.data_dir}: no training image of the class {names[label]} can be read; mend or remove {mine[0]}: "
        f"{bad[mine[0]]}"
    )


def _same_contents(paths: dict[bytes, int], base: Path) -> list[list[bytes]]:
    """Files with the same bytes, as groups."""
    groups: dict[str, list[bytes]] = {}
    for path, digest in contents_of(paths, base).items():
        groups.setdefault(digest, []).append(path)
    return [group for group in groups.values() if len(group) > 1]

"""List files: one `relative/path.jpg LABEL` a line."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files.reading import read_regular_file
from utils.files.writing import write_bytes

_MOST_CLASSES = 10**6  # where nobody says how many: who counts images by class takes memory for each
_LONGEST_PATH = 4096  # bytes, what Linux allows; every path of a list takes as much memory as the longest
_MOST_DIGITS = 18  # of a label, leading zeros among them
_MOST_BYTES = 2**30  # of a list file


@dataclass(frozen=True, eq=False)
class ImageList:
    """The content of a list file.

    Args:
        paths: relative paths as the file system has them, UTF-8 as a rule: bytes, shape [N].
        targets: int64, shape [N].
    """

    paths: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, indices: np.ndarray) -> ImageList:
        """The lines at `indices`, in that order."""
        return ImageList(self.paths[indices], self.targets[indices])


def read_list(path: str | Path, num_classes: int | None = None) -> ImageList:
    """A list file; blank lines and a byte order mark are skipped, and a path may hold spaces and tabs.

    Args:
        path: the file.
        num_classes: C; labels are 0 … C − 1. None: any label below a million.

    Raises:
        UserError: there is no such file, it names no image, or a line is wrong.
    """
    images, problems = parse_list(path, num_classes)
    if problems:
        more = f" (and {len(problems) - 1} more such lines)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}")
    return images


def parse_list(path: str | Path, num_classes: int | None = None) -> tuple[ImageList, list[str]]:
    """A list file's good lines, and what is wrong with the others: "FILE, line N: …"; or that it names no image.

    Raises:
        UserError: there is no such file, or it can't be read.
    """
    paths, targets, problems = [], [], []
    most = _MOST_CLASSES if num_classes is None else num_classes
    allowed = f"0 to {most - 1}" + f" (num_classes is {num_classes})" * (num_classes is not None)
    for number, line in enumerate(_read_lines(Path(path)), start=1):
        if not line.strip():
            continue
        name, *label = line.strip().rsplit(maxsplit=1)
        if b"\0" in line:
            wrong = "holds a NUL; lists are text in UTF-8"
        elif not label:
            wrong = f"expected `path LABEL`; got {_shown(name, 80)!r}"
        elif not _is_label(label[0], most):
            wrong = f"label {_shown(label[0], 20)} is not in the allowed range: {allowed}"
        elif len(name) > _LONGEST_PATH:
            wrong = f"its path has {len(name):,} bytes; at most {_LONGEST_PATH:,} are allowed"
        else:
            paths.append(name)
            targets.append(int(label[0]))
            continue
        problems.append(f"{path}, line {number}: {wrong}")
    if not paths and not problems:
        problems.append(f"{path}: names no image")
    return ImageList(np.array(paths, np.bytes_), np.array(targets, np.int64)), problems


def write_list(path: str | Path, images: ImageList) -> None:
    """Write a list file, whole or not at all.

    Raises:
        UserError: it can't be written, or a path holds a line break or begins or ends with a space.
    """
    for name in images.paths:
        if name.splitlines() != [name.strip()]:
            raise UserError(f"{path}: no list can hold the path {os.fsdecode(name)!r}: rename it")
    lines = (b"%b %d\n" % (name, label) for name, label in zip(images.paths, images.targets, strict=True))
    write_bytes(Path(path), b"".join(lines))


def positions(paths: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of `wanted` [M] stands in `paths` [N]: int64, shape [M]; −1 for what isn't there."""
    order = np.argsort(paths, kind="stable")
    candidates = order[np.minimum(np.searchsorted(paths, wanted, sorter=order), len(paths) - 1)]
    return np.where(paths[candidates] == wanted, candidates, -1)


def _read_lines(path: Path) -> list[bytes]:
    if not path.exists() and not path.is_symlink():
        raise UserError(f"{path}: no such list file; `python -m data_loader.lists fetch` gets the published ones")
    return read_regular_file(path, "list file", most_bytes=_MOST_BYTES).removeprefix(codecs.BOM_UTF8).splitlines()


def _is_label(text: bytes, most: int) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS and int(text) < most


def _shown(text: bytes, most: int) -> str:
    shown = text.decode(errors="backslashreplace")
    return shown if len(shown) <= most else f"{shown[:most]}…"

"""List files: one `relative/path.jpg LABEL` a line."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError, printable
from utils.files.reading import read_regular_file
from utils.files.writing import write_bytes

_MOST_BYTES = 2**30
_MOST_MEMORY = 2**32  # of a list's paths
_LONGEST_PATH = 4096  # as on Linux
_MOST_CLASSES = 10_000_000
_MOST_DIGITS = 18  # of a label that an int64 holds
_SHOWN = 80  # bytes of what is wrong


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
        num_classes: C; labels are 0 … C − 1. None: any label below ten million.

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
        UserError: there is no such file, it can't be read, or its paths would take too much memory.
    """
    paths, targets, problems = [], [], []
    for number, line in enumerate(_read_lines(Path(path)), start=1):
        if not line.strip():
            continue
        name, *label = line.strip().rsplit(maxsplit=1)
        if problem := _problem_of(name, *label, num_classes=num_classes):
            problems.append(f"{path}, line {number}: {problem}")
        else:
            paths.append(name)
            targets.append(int(label[0].lstrip(b"0") or b"0"))  # Python reads no number of thousands of digits
    if not paths and not problems:
        problems.append(f"{path}: names no image")
    longest = max(map(len, paths), default=0)
    if longest * len(paths) > _MOST_MEMORY:  # every path takes as many bytes as the longest
        raise UserError(
            f"{path}: {len(paths)} paths, of which one has {longest} bytes: too many for the memory they take"
        )
    return ImageList(np.array(paths, np.bytes_), np.array(targets, np.int64)), problems


def _problem_of(name: bytes, label: bytes | None = None, *, num_classes: int | None) -> str:
    """What is wrong with a line; empty where it is good."""
    if label is None:
        return f"expected `path LABEL`; got '{_shown(name)}'"
    if b"\0" in name or len(name) > _LONGEST_PATH:
        told = "holds a NUL character" if b"\0" in name else f"has more than {_LONGEST_PATH} bytes"
        return f"the path '{_shown(name)}' {told}, as no file's can"
    digits, highest = label.lstrip(b"0") or b"0", (_MOST_CLASSES if num_classes is None else num_classes) - 1
    if label.isdigit() and len(digits) <= _MOST_DIGITS and int(digits) <= highest:
        return ""
    allowed = f"0 to {highest}" + (f" (num_classes is {num_classes})" if num_classes is not None else "")
    return f"label {_shown(label)} is not in the allowed range: {allowed}"


def _shown(text: bytes) -> str:
    return printable(text[:_SHOWN].decode(errors="backslashreplace"))


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
    fetch = "; `python -m data_loader.lists fetch` gets the published ones"
    content = read_regular_file(path, "list file", most_bytes=_MOST_BYTES, if_missing=fetch)
    return content.removeprefix(codecs.BOM_UTF8).splitlines()

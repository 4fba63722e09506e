"""List files: one `relative/path.jpg LABEL` a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files.reading import read_text_file
from utils.files.writing import write_text

_MOST_BYTES = 2**30
_MOST_MEMORY = 2**32  # of a list's paths
_LONGEST_PATH = 4096  # as on Linux
_MOST_CLASSES = 10_000_000
_MOST_DIGITS = 18  # of a label that an int64 holds
_SHOWN = 80  # letters of what is wrong


@dataclass(frozen=True, eq=False)
class ImageList:
    """The content of a list file.

    Args:
        paths: relative paths in UTF-8: bytes, shape [N].
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
    """A list file; blank lines are skipped, and a path may hold spaces.

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
    if not len(images):
        raise UserError(f"{path}: names no image")
    return images


def parse_list(path: str | Path, num_classes: int | None = None) -> tuple[ImageList, list[str]]:
    """A list file's good lines, and what is wrong with the others: "FILE, line N: …".

    Raises:
        UserError: there is no such file, it is no text, or its paths would take too much memory.
    """
    paths, targets, problems = [], [], []
    for number, line in enumerate(_read_text(Path(path)).splitlines(), start=1):
        name, _, label = line.strip().replace("\t", " ").rpartition(" ")
        if problem := _problem_of(line, name.rstrip(), label, num_classes):
            problems.append(f"{path}, line {number}: {problem}")
        elif name:
            paths.append(name.rstrip().encode())
            targets.append(int(label.lstrip("0") or "0"))  # Python reads no number of thousands of digits
    longest = max(map(len, paths), default=0)
    if longest * len(paths) > _MOST_MEMORY:  # every path takes as many bytes as the longest
        raise UserError(
            f"{path}: {len(paths)} paths, of which one has {longest} bytes: too many for the memory they take"
        )
    return ImageList(np.array(paths, np.bytes_), np.array(targets, np.int64)), problems


def _problem_of(line: str, name: str, label: str, num_classes: int | None) -> str:
    """What is wrong with a line; empty where it is good or blank."""
    if not name:
        return f"expected `path LABEL`; got {line.strip()[:_SHOWN]!r}" if line.strip() else ""
    if "\0" in name or len(name) > _LONGEST_PATH:
        told = "holds a NUL character" if "\0" in name else f"has more than {_LONGEST_PATH} characters"
        return f"the path {name[:_SHOWN]!r} {told}, as no file's can"
    digits, highest = label.lstrip("0") or "0", (_MOST_CLASSES if num_classes is None else num_classes) - 1
    if label.isascii() and label.isdigit() and len(digits) <= _MOST_DIGITS and int(digits) <= highest:
        return ""
    allowed = f"0 to {highest}" + (f" (num_classes is {num_classes})" if num_classes is not None else "")
    return f"label {label[:_SHOWN]} is not in the allowed range: {allowed}"


def write_list(path: str | Path, images: ImageList) -> None:
    """Write a list file, whole or not at all."""
    lines = (f"{name.decode()} {label}\n" for name, label in zip(images.paths, images.targets, strict=True))
    write_text(Path(path), "".join(lines))


def positions(paths: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of `wanted` [M] stands in `paths` [N]: int64, shape [M]; −1 for what isn't there."""
    order = np.argsort(paths, kind="stable")
    candidates = order[np.minimum(np.searchsorted(paths, wanted, sorter=order), len(paths) - 1)]
    return np.where(paths[candidates] == wanted, candidates, -1)


def _read_text(path: Path) -> str:
    fetch = "; `python -m data_loader.lists fetch` gets the published ones"
    return read_text_file(path, "list file", most_bytes=_MOST_BYTES, if_missing=fetch)

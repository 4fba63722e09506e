"""List files: one `relative/path.jpg LABEL` a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files.writing import write_text


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
        num_classes: C; labels are 0 … C − 1. None: any label.

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
        UserError: there is no such file or it is no text.
    """
    paths, targets, problems = [], [], []
    allowed = "0 or more" if num_classes is None else f"0 to {num_classes - 1} (num_classes is {num_classes})"
    for number, line in enumerate(_read_text(Path(path)).splitlines(), start=1):
        name, _, label = line.strip().replace("\t", " ").rpartition(" ")
        if not name:
            if line.strip():
                problems.append(f"{path}, line {number}: expected `path LABEL`; got {line.strip()[:80]!r}")
        elif not (label.isascii() and label.isdigit() and (num_classes is None or int(label) < num_classes)):
            problems.append(f"{path}, line {number}: label {label} is not in the allowed range: {allowed}")
        else:
            paths.append(name.rstrip().encode())
            targets.append(int(label))
    return ImageList(np.array(paths, np.bytes_), np.array(targets, np.int64)), problems


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
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such list file; `python -m data_loader.lists fetch` gets the published ones"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read as a list file ({error})") from None

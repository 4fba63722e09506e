"""Data sets of a folder for each class: which images there are, and which class is which."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from data_loader.lists.list_files import ImageList
from utils.errors import UserError

# torchvision's own list, without a wait for torchvision
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def find_classes(root: Path) -> list[str]:
    """The names of the class folders in `root`, sorted: class i is the i-th; hidden folders don't count.

    Raises:
        UserError: there is no such folder, or no folder in it.
    """
    try:
        names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{root}: can't be read as a folder ({error.strerror}; data_loader.args.data_dir)") from None
    if not names:
        raise UserError(f"{root}: expected a folder for each class in it; there is none (data_loader.args.data_dir)")
    return names


def find_images(
    root: Path, class_names: list[str], *, base: Path, skipped_files: Counter[str] | None = None
) -> ImageList:
    """The images of each class folder in `root` and below, sorted; paths are relative to `base`.

    Files that are no images by their extension don't count. Where `skipped_files` is given, they are entered there by
    their extensions, hidden ones aside.

    Raises:
        UserError: a folder in `root` is none of the classes.
    """
    strangers = sorted(set(find_classes(root)) - set(class_names))
    if strangers:
        raise UserError(f"{root / strangers[0]}: there are no training images of a class of this name")
    paths: list[bytes] = []
    counts = np.zeros(len(class_names), np.int64)
    for label, name in enumerate(class_names):
        within = [(folder, file) for folder, _, files in os.walk(root / name, followlinks=True) for file in files]
        images = sorted(os.path.join(folder, file) for folder, file in within if _is_image(file))
        if skipped_files is not None:
            others = (file for _, file in within if not _is_image(file) and not file.startswith("."))
            skipped_files.update(os.path.splitext(file)[1].lower() or "no extension" for file in others)
        paths += [os.fsencode(os.path.relpath(path, base)) for path in images]
        counts[label] = len(images)
    return ImageList(np.array(paths, np.bytes_), np.repeat(np.arange(len(class_names)), counts))


def skipped_files_line(skipped_files: Counter[str]) -> str:
    """`"skipped: 3 files (.gif 2, .txt 1)"`, the most frequent extension first."""
    total = skipped_files.total()
    by_count = sorted(skipped_files.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(f"{extension} {count}" for extension, count in by_count)
    return f"skipped: {total:,} file{'s' * (total != 1)} ({kinds})"


def _is_image(file: str) -> bool:
    return file.lower().endswith(IMAGE_EXTENSIONS)

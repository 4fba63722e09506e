"""Data sets of a folder for each class: which images there are, and which class is which."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np

from data_loader.datasets.folder_walk import FolderWalk, is_image
from data_loader.lists.list_files import ImageList
from utils.errors import UserError, nearest


def require_class_folders(folder: str) -> None:
    """Refuse what can't be a folder of classes.

    Raises:
        UserError: there is no such folder, nothing in it, or images without folders for their classes.
    """
    if not os.path.isdir(folder):
        what = "is a file, not a folder" if os.path.lexists(folder) else "no such folder"
        raise UserError(f"{folder}: {what} (given by --images)")
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror} (given by --images)") from None
    folders = [entry for entry in entries if entry.is_dir()]
    if folders:
        return
    images = sum(is_image(entry.name) for entry in entries)
    holds = f"holds {images:,} images and no folder" if images else "is empty" if not entries else "holds no folder"
    example = os.path.join(folder, "cat", "1.jpg")
    raise UserError(f"{folder}: {holds}; put the images of each class into a folder of its name, as in {example}")


def find_classes(root: Path, walk: FolderWalk | None = None) -> list[str]:
    """The names of the class folders in `root`, sorted: class i is the i-th; hidden ones and leftovers don't count.

    Raises:
        UserError: there is no such folder or no folder in it, something in it is neither folder nor file, or two names
            look the same.
    """
    names = (walk or FolderWalk()).folders_in(root)
    if not names:
        raise UserError(f"{root}: expected a folder for each class in it; there is none (data_loader.args.data_dir)")
    alike: dict[str, str] = {}
    for name in names:
        other = alike.setdefault(same_name(name), name)
        if other != name:
            spelling = "upper and lower case" if other.lower() == name.lower() else "how their letters are coded"
            told = f"{other!r} and {name!r} differ in {spelling} only"
            raise UserError(f"{root}: {told}: merge these folders if they are one class, else rename one")
    return names


def find_images(root: Path, class_names: list[str], *, base: Path, walk: FolderWalk | None = None) -> ImageList:
    """The images of each class folder in `root` and below, sorted; paths are relative to `base`.

    Files that are no images by their extension don't count; `walk` counts them.

    Raises:
        UserError: a folder in `root` is none of the classes, a folder can't be read, or is reached twice.
    """
    walk = walk or FolderWalk()
    strangers = sorted(set(find_classes(root, walk)) - set(class_names))
    if strangers:
        hint = nearest(strangers[0], class_names)
        raise UserError(f"{root / strangers[0]}: there are no training images of a class of this name{hint}")
    paths: list[bytes] = []
    counts = np.zeros(len(class_names), np.int64)
    for label, name in enumerate(class_names):
        images = walk.images_below(root / name) if (root / name).exists() else []
        paths += [os.fsencode(os.path.relpath(path, base)) for path in images]
        counts[label] = len(images)
    return ImageList(np.array(paths, np.bytes_), np.repeat(np.arange(len(class_names)), counts))


def same_name(name: str) -> str:
    """What two names have in common that differ in case or Unicode's normal form only."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

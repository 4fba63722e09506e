"""Files with the very same contents that a split would have in several parts: a network would know its test images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_loader.lists.list_files import ImageList


def copies_to_training(parts: Mapping[str, ImageList], contents: Mapping[bytes, str]) -> dict[str, ImageList]:
    """The same parts, with all copies of an image in "train" where it was in several.

    Args:
        parts: "train" and those that are evaluated; two of them may be the same object, and stay one.
        contents: path → digest; an image without one is taken as unlike all others.
    """
    places: dict[str, set[int]] = {}
    for images in parts.values():
        for path in images.paths.tolist():
            if path in contents:
                places.setdefault(contents[path], set()).add(id(images))
    shared = {digest for digest, found in places.items() if len(found) > 1}
    if not shared:
        return dict(parts)

    def is_shared(images: ImageList) -> np.ndarray:
        return np.array([contents.get(path) in shared for path in images.paths.tolist()], bool)

    distinct = {id(images): images for name, images in parts.items() if name != "train"}
    moved = [images.subset(np.flatnonzero(is_shared(images))) for images in distinct.values()]
    train = _by_class([parts["train"], *moved])
    kept = {key: images.subset(np.flatnonzero(~is_shared(images))) for key, images in distinct.items()}
    return {name: train if name == "train" else kept[id(images)] for name, images in parts.items()}


def _by_class(lists: list[ImageList]) -> ImageList:
    """Several lists as one, each class after the one before, sorted within it."""
    paths = np.concatenate([images.paths for images in lists])
    targets = np.concatenate([images.targets for images in lists])
    order = np.lexsort((paths, targets))
    return ImageList(paths[order], targets[order])

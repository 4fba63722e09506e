"""New lists out of others: shifted test lists, long-tailed training lists. Lists in, lists out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_loader.datasets.class_folders import find_classes, find_images
from data_loader.datasets.longtail import longtail_counts, select_per_class, shift_factor, shifted_indices
from data_loader.lists.list_files import ImageList, read_list
from utils.errors import UserError


def shifted_lists(
    train: ImageList, test: ImageList, *, num_classes: int, ratios: Sequence[int], decimals: int = 4
) -> Iterator[tuple[str, ImageList]]:
    """The shifted test lists, as ("forward50", list) and so on.

    Args:
        train: gives the classes' ranks.
        test: the images to choose from.
        num_classes: C.
        ratios: imbalance ratios r.
        decimals: to so many 1/r is rounded, see `data_loader.datasets.longtail.shift_factor`.
    """
    class_counts = np.bincount(train.targets, minlength=num_classes)
    for ratio in ratios:
        for direction in ("forward", "backward"):
            factor = shift_factor(ratio, decimals)
            indices = shifted_indices(test.targets, class_counts, factor=factor, backward=direction == "backward")
            yield f"{direction}{ratio}", test.subset(indices)


def long_tailed_list(
    images: ImageList,
    *,
    num_classes: int,
    imb_type: str,
    ratio: float,
    largest: int | None = None,
    seed: int | None = None,
) -> ImageList:
    """A long-tailed choice of a balanced list's images.

    Args:
        images: the balanced list.
        num_classes: C.
        imb_type: "exp", "step" or "pareto", see `data_loader.datasets.longtail.longtail_counts`.
        ratio: images of the largest class to those of the smallest.
        largest: images of the largest class; as many as the smallest class of `images` has by default.
        seed: the classes' order from head to tail is drawn with it; None: the order of the labels.

    Raises:
        UserError: a class has too few images.
    """
    available = np.bincount(images.targets, minlength=num_classes)
    largest = int(available.min()) if largest is None else largest
    factor = float(np.nextafter(1 / ratio, 1))  # 49 · (1/49) is less than 1, and the last class would be empty
    wanted = longtail_counts(largest, num_classes, imb_type=imb_type, imb_factor=factor)
    order = np.arange(num_classes) if seed is None else np.random.default_rng(seed).permutation(num_classes)
    counts = np.empty(num_classes, np.int64)
    counts[order] = wanted
    short = np.flatnonzero(available < counts)
    if len(short):
        label = int(short[0])
        held = int(available[label])
        raise UserError(
            f"class {label}: has {held} image{'s' * (held != 1)}, {counts[label]} are wanted; give a smaller --max"
        )
    if counts.min() < 1:
        raise UserError(f"a ratio of {ratio:g} with {largest} images in the largest class leaves classes without any")
    return images.subset(select_per_class(images.targets, counts))


def read_list_or_folder(source: Path, num_classes: int | None = None) -> ImageList:
    """A list file, or the images of a folder for each class, by paths relative to it."""
    if not source.is_dir():
        return read_list(source, num_classes)
    names = find_classes(source)
    return find_images(source, names, base=source)

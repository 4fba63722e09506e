"""Test distributions that somebody wrote down: class priors in a CSV or JSON, or a list of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_loader.datasets.longtail import proportional_counts, select_per_class
from data_loader.lists.list_files import positions, read_list
from data_loader.lists.manifest import is_published
from trainer.evaluation.distributions.distribution import BY_RULE, LIST_FILE, PUBLISHED_LIST, Distribution
from trainer.evaluation.distributions.split import TestSplit
from utils.config.wording import shown
from utils.errors import UserError
from utils.files.class_tables import by_class
from utils.files.prior_tables import read_priors

LIST = ".txt"
SUFFIXES = (".csv", ".json", LIST)
_LEAST_SHARE = 1e-15  # of the largest: no test split is large enough for an image of it


def of_file(path: Path, split: TestSplit) -> list[Distribution]:
    """The test distributions of a file: of a list (.txt) one with its name, of a table of priors one for each row.

    Raises:
        UserError: in one line: what can't be read, doesn't fit the classes, or has other images than the split.
    """
    if path.suffix.lower() == LIST:
        return [_of_list(path, split)]
    names = split.class_names or [str(label) for label in range(len(split.sizes))]
    return [
        Distribution(name, _drawn(path, name, by_class(path, numbers, names), split, names), f"{BY_RULE}, {path.name}")
        for name, numbers in read_priors(path).items()
    ]


def _drawn(path: Path, name: str, prior: np.ndarray, split: TestSplit, class_names: Sequence[str]) -> np.ndarray:
    """As many images in the prior's proportions, none twice, as the classes' counts allow."""
    without = np.flatnonzero((prior > 0) & (split.sizes == 0))
    if len(without):
        first = shown(class_names[without[0]])
        raise UserError(f"{path}: {shown(name)} needs images of {first}, and there is no test image of this class")
    shares = np.where(prior > _LEAST_SHARE * prior.max(), prior, 0)
    return select_per_class(split.targets, proportional_counts(split.sizes, shares, all_classes=False))


def _of_list(path: Path, split: TestSplit) -> Distribution:
    """Exactly the images that a list names; those that can't be read are left out."""
    listed = read_list(path, len(split.sizes))
    unreadable = np.isin(listed.paths, _encoded(split.unreadable))
    images = listed.subset(np.flatnonzero(~unreadable))
    if not len(images):
        raise UserError(f"{path}: not one of its {len(listed)} images can be read")
    indices = positions(_encoded(split.image_names()), images.paths)
    wrong = (indices < 0) | (split.targets[indices] != images.targets)
    if wrong.any():
        first = int(np.argmax(wrong))
        image, label = shown(os.fsdecode(images.paths[first])), images.targets[first]
        why = "is not among the test images" if indices[first] < 0 else f"is of class {split.targets[indices[first]]}"
        raise UserError(f"{path}: {image}, listed with the label {label}, {why}")
    if len(np.unique(indices)) < len(indices):
        places, times = np.unique(indices, return_counts=True)
        twice = shown(os.fsdecode(images.paths[indices == places[np.argmax(times > 1)]][0]))
        raise UserError(f"{path}: {twice} stands twice")
    return Distribution(path.stem, indices, PUBLISHED_LIST if is_published(path) else LIST_FILE)


def _encoded(names: Sequence[str]) -> np.ndarray:
    return np.array([os.fsencode(name) for name in names], np.bytes_)

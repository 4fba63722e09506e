"""scikit-learn's handwritten digits, long-tailed: nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_loader.array_loaders import ArrayDatasetSpec, ImbalanceArrayDataLoader, ImbalanceFactor
from data_loader.datasets.labelled_images import LabelledImages
from utils.config.ranges import PositiveInt

__all__ = ["ImbalanceDigitsDataLoader"]

_TEST_IMAGES = 50  # of each class


def read_digits(data_dir: str, *, train: bool, verify: bool) -> LabelledImages:
    """scikit-learn's digits, 16×16 by bilinear interpolation; the last 50 images of each class are the test split.

    They come with scikit-learn: `data_dir` and `verify` are not used.
    """
    images, targets = _enlarged()
    by_class = [np.flatnonzero(targets == label) for label in range(10)]
    cut = slice(None, -_TEST_IMAGES) if train else slice(-_TEST_IMAGES, None)
    chosen = np.sort(np.concatenate([indices[cut] for indices in by_class]))
    return LabelledImages(images[chosen].repeat(1, 3, 1, 1), targets[chosen], [str(label) for label in range(10)])


@cache
def _enlarged() -> tuple[Tensor, np.ndarray]:
    """All digits: uint8, shape [1797, 1, 16, 16], and their labels, int64, [1797]. A process reads them once."""
    pixels, targets = _embedded()
    images = torch.from_numpy(pixels).float().mul(255 / 16)[:, None]
    return torch.nn.functional.interpolate(images, size=(16, 16), mode="bilinear").round().to(torch.uint8), targets


def _embedded() -> tuple[np.ndarray, np.ndarray]:
    """All digits: float64 in 0 … 16, shape [1797, 8, 8], and their labels, int64, [1797].

    They are read from scikit-learn's file: its import takes a second, and is the way where the file lies elsewhere.
    """
    package = find_spec("sklearn")
    folders = (package.submodule_search_locations if package else None) or []
    for path in (Path(folder, "datasets", "data", "digits.csv.gz") for folder in folders):
        if path.is_file():
            rows = np.loadtxt(path, delimiter=",")  # 64 pixels and the label
            return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits  # noqa: PLC0415 - see above

    digits = load_digits()
    return digits.images, digits.target.astype(np.int64)


@dataclass(kw_only=True, eq=False)
class ImbalanceDigitsDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed handwritten digits, embedded in scikit-learn: 16×16 pixels, nothing to download.

    Args:
        data_dir: not needed.
        imb_factor: the inverse of the imbalance ratio.
        max_per_class: at most so many training images of a class.
    """

    spec = ArrayDatasetSpec(
        read_digits, side=16, mean=(0.306,) * 3, std=(0.318,) * 3, padding=2, flip=False, degrees=10.0
    )

    data_dir: str = ""
    imb_factor: ImbalanceFactor = 1 / 40
    max_per_class: PositiveInt | None = 120

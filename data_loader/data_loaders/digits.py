"""scikit-learn's handwritten digits, long-tailed: nothing to download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data_loader.array_loaders import ArrayDatasetSpec, ImbalanceArrayDataLoader, ImbalanceFactor
from data_loader.datasets.labelled_images import LabelledImages
from utils.config.ranges import PositiveInt

__all__ = ["ImbalanceDigitsDataLoader"]

_TEST_IMAGES = 50  # of each class


def read_digits(data_dir: str, *, train: bool, verify: bool) -> LabelledImages:
    """scikit-learn's digits, 16×16 by bilinear interpolation; the last 50 images of each class are the test split.

    They come with scikit-learn: `data_dir` and `verify` are not used.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second, and only this reader needs it

    digits = load_digits()
    targets = digits.target.astype(np.int64)
    by_class = [np.flatnonzero(targets == label) for label in range(10)]
    cut = slice(None, -_TEST_IMAGES) if train else slice(-_TEST_IMAGES, None)
    chosen = np.sort(np.concatenate([indices[cut] for indices in by_class]))
    images = torch.from_numpy(digits.images[chosen]).float().mul(255 / 16)[:, None]
    images = torch.nn.functional.interpolate(images, size=(16, 16), mode="bilinear").round().to(torch.uint8)
    return LabelledImages(images.repeat(1, 3, 1, 1), targets[chosen], [str(label) for label in range(10)])


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

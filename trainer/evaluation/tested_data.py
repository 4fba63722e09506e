"""What the results call the images that were tested, so that rows of other images stand beside them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from data_loader.loader import ImageDataLoader

_DIGITS = 8


def data_name(loader: ImageDataLoader) -> str:
    """The last part of `data_dir`, or the type where there is none, and a digest of a split's images and labels.

    A copy in a folder of the same name is called the same: "CIFAR-100 5d0c1f2a".

    Args:
        loader: of the split.
    """
    name = Path(getattr(loader, "data_dir", "")).name or type(loader).__name__.removesuffix("DataLoader")
    return f"{name} {_digest(loader.targets, contents=loader.contents.quick)}"


def labels_name(labels: np.ndarray) -> str:
    """What images that nobody has seen are called: a digest of their labels [N], as in "labels 5d0c1f2a"."""
    return f"labels {_digest(labels)}"


def _digest(labels: np.ndarray, *, contents: str = "") -> str:
    return hashlib.sha256(contents.encode() + labels.astype("<i8").tobytes()).hexdigest()[:_DIGITS]

"""What the results call the images that were tested, so that rows of other images stand beside them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from data_loader.loader import ImageDataLoader

_DIGITS = 8


def data_name(loader: ImageDataLoader) -> str:
    """The last part of `data_dir`, or the type where there is none, and a digest of a split's images and labels.

    A copy in a folder of the same name is called the same: "CIFAR-100 5d0c1f2a".

    Args:
        loader: of the split.
    """
    name = Path(getattr(loader, "data_dir", "")).name or type(loader).__name__.removesuffix("DataLoader")
    labels = loader.targets.astype("<i8").tobytes()
    return f"{name} {hashlib.sha256(loader.contents.quick.encode() + labels).hexdigest()[:_DIGITS]}"

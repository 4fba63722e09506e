"""What about a data set's classes is to be known before a training that it does not forbid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_loader.loader import ImageDataLoader

_LISTED = 5


def class_remarks(loader: ImageDataLoader) -> list[str]:
    """Classes without training or test images, or with a single training image, and a single class: one line each."""
    names, counts = loader.class_names, np.array(loader.cls_num_list)
    tested = np.bincount(loader.splits["test"].targets, minlength=len(counts))
    remarks = ["there is a single class: nothing to tell apart"] if len(names) == 1 else []
    remarks += _about_classes(names, counts == 0, "no training image: they can't be learnt")
    remarks += _about_classes(names, counts == 1, "a single training image")
    remarks += _about_classes(names, (counts > 0) & (tested == 0), "no test image: their accuracy stays unknown")
    return remarks


def _about_classes(names: Sequence[str], chosen: np.ndarray, told: str) -> list[str]:
    indices = np.flatnonzero(chosen)
    if not len(indices):
        return []
    listed = ", ".join(names[index] for index in indices[:_LISTED]) + ", …" * (len(indices) > _LISTED)
    return [f"{len(indices)} of {len(names)} classes ({listed}) have {told}"]

"""What estimators of the test prior are given, checked: one ValueError of one line for each mistake.

Shapes: `N` unlabelled test images, `M` labelled held-out images, `C` classes, `R` weightings of the test images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def checked_logits(name: str, logits: ArrayLike) -> NDArray[np.floating]:
    """Logits or log-posteriors [N, C] as floating-point numbers; −∞ is allowed where a row has something else."""
    values = np.asarray(logits)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{name} need the shape [N, C] with N ≥ 1 and C ≥ 1, not {list(values.shape)}")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers, not {values.dtype}")
    if not np.isfinite(values.max(axis=1)).all():
        raise ValueError(f"{name} hold nan or +∞, or a row of −∞ alone")
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def checked_prior(name: str, prior: ArrayLike, classes: int) -> Floats:
    """Frequencies or counts [C] as frequencies."""
    values = np.asarray(prior, dtype=np.float64)
    if values.shape != (classes,):
        raise ValueError(f"{name} needs the shape [{classes}], one number for each class, not {list(values.shape)}")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.sum() > 0):
        raise ValueError(f"{name} must be finite, at least 0 and not all 0")
    return values / values.sum()


def checked_labels(name: str, labels: ArrayLike, size: int, classes: int) -> NDArray[np.integer]:
    """Class indices [M]."""
    values = np.asarray(labels)
    if values.shape != (size,):
        raise ValueError(f"{name} need the shape [{size}], one for each image, not {list(values.shape)}")
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= classes:
        raise ValueError(f"{name} must be class indices, 0 … {classes - 1}")
    return values


def checked_weights(image_weights: ArrayLike | None, size: int) -> Floats:
    """Weights of images [R, N], each row with the sum 1, from [N] or [R, N]; None is equal weights, R = 1."""
    if image_weights is None:
        return np.full((1, size), 1 / size)
    weights = np.atleast_2d(np.asarray(image_weights, dtype=np.float64))
    if weights.ndim != 2 or weights.shape[1] != size:
        raise ValueError(f"image_weights need the shape [{size}] or [R, {size}], not {list(weights.shape)}")
    totals = weights.sum(axis=1, keepdims=True)
    if not (np.isfinite(totals).all() and weights.min() >= 0 and totals.min() > 0):
        raise ValueError("image_weights must be finite, at least 0 and not all 0")
    return weights / totals


def checked_range(name: str, value: float, low: float, high: float) -> float:
    """A number within limits, ends included."""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in {low:g} … {high:g}, not {value}")
    return float(value)

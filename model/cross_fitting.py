"""What a calibration brings on images that it was not fitted to: each held-out image is calibrated by a fit to others.

Shapes: `M` held-out images, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.calibration import negative_log_likelihood, reliability_bins, top_confidences
from model.posthoc_calibration import Calibrator

FOLDS = 5


class HeldOutScores(NamedTuple):
    """Of held-out images, under their own class frequencies."""

    nll: float
    ece: float
    accuracy: float


def stratified_folds(labels: ArrayLike, folds: int = FOLDS) -> NDArray[np.intp]:
    """The fold 0 … folds − 1 of each of labels [M]: of each class, and of all, as many in each as can be."""
    classes = np.asarray(labels)
    fold = np.empty(classes.size, np.intp)
    fold[np.argsort(classes, kind="stable")] = np.arange(classes.size) % folds
    return fold


def cross_fitted(
    fit: Callable[[NDArray[np.floating], NDArray[np.integer], ArrayLike], Calibrator],
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    home_prior: ArrayLike,
    *,
    folds: int = FOLDS,
) -> NDArray[np.floating]:
    """Logits [M, C] under the images' own class frequencies, each calibrated by what was fitted to the other folds.

    Args:
        fit: an entry of `model.posthoc_calibration.CALIBRATIONS`.
        logits: [M, C] with M ≥ 2.
        labels: [M].
        home_prior: [C], see there.
        folds: ≥ 2.

    Raises:
        ValueError: fewer than two images, and what `fit` says.
    """
    if len(labels) < 2:
        raise ValueError(f"{len(labels)} held-out images can't be fitted and tested on others")
    fold = stratified_folds(labels, min(folds, len(labels)))
    counts, corrected = np.bincount(labels, minlength=logits.shape[1]), np.empty(logits.shape)
    for tested in (fold == number for number in np.unique(fold)):
        calibrator = fit(logits[~tested], labels[~tested], home_prior)
        corrected[tested] = calibrator.corrected(calibrator(logits[tested]), counts, home_prior)
    return corrected


def held_out_scores(corrected: NDArray[np.floating], labels: NDArray[np.integer]) -> HeldOutScores:
    """Scores of logits [M, C] that are right under the images' own class frequencies."""
    right = corrected.argmax(axis=1) == labels
    ece = reliability_bins(top_confidences(corrected), right).expected_error
    return HeldOutScores(negative_log_likelihood(corrected, labels), ece, float(right.mean()))

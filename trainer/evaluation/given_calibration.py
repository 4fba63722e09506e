"""The calibration of anybody's predictions: fitted to labelled held-out images of theirs, or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.posthoc_calibration import CALIBRATIONS
from model.prior_estimation import HeldOut
from trainer.evaluation.applied_calibration import NO_CALIBRATION, AppliedCalibration
from trainer.evaluation.calibration_fits import fitted_by_weights, held_out_predictors
from trainer.evaluation.calibrations import CALIBRATION_FILE, StoredCalibration, check_calibration
from trainer.evaluation.results import RAW


def given_calibration(
    calibration: str | AppliedCalibration,
    held_out: HeldOut | None,
    homes: np.ndarray,
    class_counts: Sequence[int] | None,
    num_classes: int,
) -> AppliedCalibration:
    """What is done to the predictors' logits.

    Args:
        calibration: "none", a method of `model.posthoc_calibration.CALIBRATIONS`, a file, or what this made of one.
        held_out: each expert's logits [M, E, C] and labels [M] of images that they were not trained on.
        homes: the class prior that each expert [E, C], or their mean alone [1, C], is right under.
        class_counts: training images of each class, length C; None: unknown.
        num_classes: C.

    Raises:
        ValueError: a method, and no held-out images.
        UserError: a file that can't be read, or one of other classes.
    """
    if isinstance(calibration, AppliedCalibration):
        return calibration
    if calibration == "none":
        return NO_CALIBRATION
    if calibration in CALIBRATIONS:
        if held_out is None:
            raise ValueError(f"the calibration {calibration} is fitted to labelled held-out images; there are none")
        return AppliedCalibration(f"fitted: {calibration}", _fitted(calibration, held_out, homes, class_counts))
    stored = CALIBRATION_FILE.read(Path(calibration))
    check_calibration(stored, num_classes)
    return AppliedCalibration(f"file {Path(calibration).name}: {stored.method}", stored)


def _fitted(method: str, held_out: HeldOut, homes: np.ndarray, class_counts: Sequence[int] | None) -> StoredCalibration:
    logits, labels = np.asarray(held_out.logits), np.asarray(held_out.labels)
    fitted = fitted_by_weights(held_out_predictors({RAW: logits}, homes, class_counts), method, labels)
    counts = np.bincount(labels, minlength=logits.shape[2]).tolist()
    return StoredCalibration("", "", f"{len(labels)} held-out images", method, tuple(counts), fitted)

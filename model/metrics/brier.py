"""Brier score, and its parts: brier = reliability − resolution + uncertainty + within_bins."""

from __future__ import annotations

from model.class_calibration import brier_parts
from model.metrics.metric import LabelledLogits, set_metric

# in the order of the files' columns
__all__ = ["brier", "brier_reliability", "brier_resolution", "brier_uncertainty", "brier_within_bins"]


@set_metric("Brier", percent=False, higher_is_better=False, in_table=False)
def brier(labelled: LabelledLogits) -> float:
    """Mean squared distance of probabilities and labels, summed over the classes: 0 … 2."""
    return float(labelled.brier_scores.mean())


@set_metric("Brier reliability", percent=False, higher_is_better=False, in_table=False)
def brier_reliability(labelled: LabelledLogits) -> float:
    """What it costs that the probabilities of a bin are not its frequency."""
    return brier_parts(labelled.class_bins).reliability


@set_metric("Brier resolution", percent=False, in_table=False)
def brier_resolution(labelled: LabelledLogits) -> float:
    """What is gained by telling images of a class from others."""
    return brier_parts(labelled.class_bins).resolution


@set_metric("Brier uncertainty", percent=False, higher_is_better=False, in_table=False)
def brier_uncertainty(labelled: LabelledLogits) -> float:
    """The score of always predicting the test set's class frequencies."""
    return brier_parts(labelled.class_bins).uncertainty


@set_metric("Brier within bins", percent=False, higher_is_better=False, in_table=False)
def brier_within_bins(labelled: LabelledLogits) -> float:
    """What probabilities of the same bin differ by: their variance, less twice their covariance with the labels."""
    return brier_parts(labelled.class_bins).within_bins

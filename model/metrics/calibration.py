"""Does confidence match accuracy? Errors over 15 bins, of equal width where nothing else is said, and the likelihood.

The formulas and their sources are in `model.calibration` and `model.class_calibration`.
"""

from __future__ import annotations

import numpy as np

from model.calibration import adaptive_calibration_error
from model.class_calibration import classwise_calibration_error
from model.metrics.metric import LabelledLogits, set_metric

# in the order of the files' columns
__all__ = ["ece", "mce", "adaptive_ece", "classwise_ece", "overconfidence", "underconfidence", "nll"]  # noqa: RUF022


@set_metric("ECE", higher_is_better=False)
def ece(labelled: LabelledLogits) -> float:
    """Expected calibration error of the predicted class's probability, in [0, 1]."""
    return labelled.reliability.expected_error


@set_metric("MCE", higher_is_better=False, in_table=False)
def mce(labelled: LabelledLogits) -> float:
    """Largest calibration error of a bin, in [0, 1]."""
    return labelled.reliability.maximum_error


@set_metric("adaptive ECE", higher_is_better=False, in_table=False)
def adaptive_ece(labelled: LabelledLogits) -> float:
    """ECE over bins of equally many samples, in [0, 1]."""
    return adaptive_calibration_error(labelled.confidences, labelled.correct)


@set_metric("class-wise ECE", higher_is_better=False, in_table=False)
def classwise_ece(labelled: LabelledLogits) -> float:
    """ECE of each class's probability, mean over the classes, in [0, 1]."""
    return classwise_calibration_error(labelled.class_bins)


@set_metric("over-confidence", higher_is_better=False, in_table=False)
def overconfidence(labelled: LabelledLogits) -> float:
    """The part of ECE that is due to bins surer than right, in [0, 1]."""
    return labelled.reliability.signed_errors[0]


@set_metric("under-confidence", higher_is_better=False, in_table=False)
def underconfidence(labelled: LabelledLogits) -> float:
    """The part of ECE that is due to bins righter than sure, in [0, 1]; ECE is the sum of both."""
    return labelled.reliability.signed_errors[1]


@set_metric("NLL", percent=False, higher_is_better=False, in_table=False)
def nll(labelled: LabelledLogits) -> float:
    """Mean of −log p(target), in nats."""
    return float(np.mean(labelled.surprisals, dtype=np.float64))

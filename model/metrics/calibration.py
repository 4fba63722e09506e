"""Does confidence match accuracy? Errors over 15 bins of equal width, and the likelihood.

Source: Guo et al., arXiv 1706.04599; the formulas are in `model.calibration`.
"""

from __future__ import annotations

from model.calibration import (
    expected_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
)
from model.metrics.metric import LabelledLogits, set_metric

__all__ = ["ece", "mce", "nll"]


@set_metric("ECE", higher_is_better=False)
def ece(labelled: LabelledLogits) -> float:
    """Expected calibration error of the predicted class's probability, in [0, 1]."""
    return expected_calibration_error(labelled.confidences, labelled.correct)


@set_metric("MCE", higher_is_better=False, in_table=False)
def mce(labelled: LabelledLogits) -> float:
    """Largest calibration error of a bin, in [0, 1]."""
    return maximum_calibration_error(labelled.confidences, labelled.correct)


@set_metric("NLL", percent=False, higher_is_better=False, in_table=False)
def nll(labelled: LabelledLogits) -> float:
    """Mean of −log p(target), in nats."""
    return negative_log_likelihood(labelled.logits, labelled.targets)

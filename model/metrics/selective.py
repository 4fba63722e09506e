"""Does confidence tell right predictions from wrong ones?"""

from __future__ import annotations

from model.metrics.metric import LabelledLogits, set_metric
from model.selective import area_under_risk_coverage

__all__ = ["aurc"]


@set_metric("AURC", higher_is_better=False, in_table=False)
def aurc(labelled: LabelledLogits) -> float:
    """Area under the curve of risk over coverage, in [0, 1]: mean error of the k surest predictions over all k."""
    return area_under_risk_coverage(labelled.confidences, labelled.correct)

"""Selective prediction: how wrong are the predictions that a network is surest of? Pure NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.calibration import checked_confidences, mean_of_ties


def area_under_risk_coverage(confidences: ArrayLike, correct: ArrayLike) -> float:
    """AURC = 1/N Σ_k (part of wrong predictions among the k surest), in [0, 1]; lower is better.

    Source: Geifman, Uziel, El-Yaniv, ICLR 2019. Among equal confidences it is the mean over all their orders.

    Args:
        confidences: [N], top probabilities in [0, 1].
        correct: [N], whether each prediction is right.

    Raises:
        ValueError: no samples, other lengths, or a confidence outside of [0, 1].
    """
    probabilities, hits = checked_confidences(confidences, correct)
    surest_first = np.argsort(-probabilities, kind="stable")
    wrong = 1 - mean_of_ties(probabilities, hits)[surest_first]
    return float(np.mean(np.cumsum(wrong) / np.arange(1, wrong.size + 1)))

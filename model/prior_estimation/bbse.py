"""Black-box shift estimation: which prior explains the frequencies of predictions? (Lipton, Wang, Smola, ICML 2018)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import Floats
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from model.prior_estimation.source_sample import prediction_moments

__all__ = ["bbse"]

_LARGEST_CONDITION = 1e12  # beyond, the solution is rounding errors


def bbse(evidence: PriorEvidence, *, soft: bool = False, image_weights: ArrayLike | None = None) -> PriorEstimate:
    """π ∝ π_held-out · w, where C w = μ, negative w being set to 0.

    C[ŷ, y] is the part of the held-out images of class y that are predicted as ŷ, μ[ŷ] the part of the test images. It
    asks of the predictor that its mistakes are the same on both, not that it is calibrated. Where C can't be inverted
    (a class without held-out images, or never predicted), w is the solution of least squares with w ≥ 0. A class
    without held-out images gets 0.

    Args:
        evidence: logits and held-out images, which the predictor must not have been trained on.
        soft: predictions are posteriors instead of the class with the largest.
        image_weights: [N] or [R, N], how often each test image counts; once each by default. The held-out images stay
            as they are.

    Raises:
        ValueError: no held-out images.
    """
    held_out = evidence.required_held_out("bbse")
    moments = prediction_moments(evidence, held_out, evidence.weightings(image_weights), soft=soft)
    importance = solve_nonnegative(moments.joint, moments.target)
    return PriorEstimate(prior=moments.prior_of(importance)).shaped_like(image_weights)


def solve_nonnegative(matrix: Floats, targets: Floats) -> Floats:
    """w with `matrix` [C, C] · w = target and w ≥ 0 for each of targets [R, C]: [R, C]."""
    if np.linalg.cond(matrix, 1) < _LARGEST_CONDITION:
        return np.maximum(np.linalg.solve(matrix, targets.T).T, 0)
    from scipy.optimize import nnls  # noqa: PLC0415 - takes a second, and few matrices need it

    return np.stack([nnls(matrix, target)[0] for target in targets])

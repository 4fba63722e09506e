"""MAP-EM around the tilt: it departs from the one-number family where the images say more."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import checked_range
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from model.prior_estimation.maximise import MAX_ITERATIONS, TOLERANCE, AnchoredLikelihood
from model.prior_estimation.tilt import tilt

__all__ = ["centred_map_em"]


def centred_map_em(
    evidence: PriorEvidence,
    *,
    weight: float = 0.3,
    image_weights: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> PriorEstimate:
    """EM whose M-step is π = λ · mean posterior + (1 − λ) · π_γ, where π_γ is `tilt`'s estimate.

    Args:
        evidence: logits, home prior and training prior.
        weight: λ in [0, 1]; 1 is EM, 0 the tilt. Small where the posteriors are not to be trusted class by class.
        image_weights: [N] or [R, N], how often each image counts; once each by default.
        tolerance: stop when no class moves by as much in an M-step.
        max_iterations: E-steps, at least 1.

    Returns:
        The estimate; `parameters` has `gamma` and `weight`.

    Raises:
        ValueError: no training prior, or a weight outside of [0, 1].
    """
    weightings = evidence.weightings(image_weights)
    centre = tilt(evidence, image_weights=weightings)
    weights = np.full(len(weightings), checked_range("weight", weight, 0, 1))
    likelihood = AnchoredLikelihood(evidence, weightings, centre.prior, weights)
    estimate = likelihood.maximise(tolerance=tolerance, max_iterations=max_iterations)
    return estimate.with_parameters(**centre.parameters, weight=weights).shaped_like(image_weights)

"""Maximum likelihood by expectation-maximisation (Saerens, Latinne, Decaestecker, Neural Computation 2002)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from model.prior_estimation.maximise import MAX_ITERATIONS, TOLERANCE, AnchoredLikelihood

__all__ = ["em"]


def em(
    evidence: PriorEvidence,
    *,
    image_weights: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> PriorEstimate:
    """The prior under which the test images are likeliest.

    Only as good as the posteriors are, class by class: where those of the tail are wrong, its estimate is, however many
    images there are. A class that the source prior rules out stays at 0.

    Args:
        evidence: logits and home prior; with held-out images, `PriorEvidence.source_prior` is their mean prediction.
        image_weights: [N] or [R, N], how often each image counts; once each by default.
        tolerance: stop when no class moves by as much in an EM step.
        max_iterations: E-steps, at least 1.

    Returns:
        The estimate; `objectives` is the mean log-likelihood of an image, relative to the source prior.
    """
    weightings = evidence.weightings(image_weights)
    sets = len(weightings)
    likelihood = AnchoredLikelihood(evidence, weightings, np.tile(evidence.source_prior, (sets, 1)), np.ones(sets))
    estimate = likelihood.maximise(tolerance=tolerance, max_iterations=max_iterations)
    return estimate.shaped_like(image_weights)

"""The recommended estimate: as far from the predictor's own prior as the images give evidence for, and no further."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.banded import banded_em
from model.prior_estimation.checks import Floats
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from model.prior_estimation.maximise import MAX_ITERATIONS, TOLERANCE
from model.prior_estimation.tilt import tilt

__all__ = ["auto"]

LEVEL = 0.95
# of a log-likelihood ratio, for the one number γ: half of χ²'s quantile, which for one number is a normal one squared
_THRESHOLD = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2 / 2


def auto(
    evidence: PriorEvidence,
    *,
    image_weights: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> PriorEstimate:
    """`banded_em` around whichever of three priors, its penalty being the judge, explains the images best.

    1. The predictor's own prior, so that nothing is corrected.
    2. The uniform prior.
    3. The tilt π_train^γ, where a likelihood-ratio test at 95 % tells it from the first.

    So an answer departs from what the predictor is at home on only with evidence; it follows a forward or backward
    shift as one number; and single classes leave that line where posteriors that are somewhat wrong can't explain it.

    Args:
        evidence: logits and home prior; the training prior, for 2; held-out images make it better.
        image_weights: [N] or [R, N], how often each image counts; once each by default.
        tolerance: stop when no class moves by as much in an M-step.
        max_iterations: E-steps, at least 1.

    Returns:
        The estimate; `parameters` has `gamma`, 0 for the uniform prior and nan for the predictor's own, and
        `off_anchor`, the part of the test set that is elsewhere than this prior has it.
    """
    size, classes = evidence.shape
    weights = np.atleast_2d(np.ones(size) if image_weights is None else np.asarray(image_weights))
    sets = len(weights)
    home = np.broadcast_to(np.asarray(evidence.home_prior, np.float64), (sets, classes))
    gammas, anchors = np.full((3, sets), np.nan), np.stack([home, np.full((sets, classes), 1 / classes), home])
    gammas[1] = 0
    if evidence.training_prior is not None:
        centre = tilt(evidence, image_weights=weights)
        weightings = evidence.weightings(weights)
        gain = _log_likelihoods(evidence, weightings, centre.prior) - _log_likelihoods(evidence, weightings, home)
        tilted = weights.sum(axis=1) * gain > _THRESHOLD
        gammas[2, tilted], anchors[2, tilted] = centre.parameters["gamma"][tilted], centre.prior[tilted]
    banded = banded_em(
        evidence,
        anchor=anchors.reshape(3 * sets, classes),  # [3, R, C] → [3R, C]
        image_weights=np.tile(weights, (3, 1)),
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    values = banded.objectives[-1].reshape(3, sets)
    best = (values > values[0] + tolerance).argmax(axis=0)  # the first where none is better
    best = np.where(values[2] > values[best, np.arange(sets)] + tolerance, 2, best)
    chosen = best * sets + np.arange(sets)
    estimate = replace(banded, prior=banded.prior[chosen], objectives=banded.objectives[:, chosen])
    off_anchor = banded.parameters["off_anchor"][chosen]
    return estimate.with_parameters(gamma=gammas.reshape(-1)[chosen], off_anchor=off_anchor).shaped_like(image_weights)


def _log_likelihoods(evidence: PriorEvidence, weightings: Floats, priors: Floats) -> Floats:
    """Mean log-likelihood of an image of each of the weightings [R, N] under the prior of the same row [R, C]: [R]."""
    return np.einsum("rn,rn->r", weightings, evidence.image_log_likelihoods(priors))

"""EM that leaves the tilt only where the images insist: posteriors that are somewhat wrong do not mislead it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import Floats, checked_range
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from model.prior_estimation.maximise import MAX_ITERATIONS, TOLERANCE, BandedLikelihood
from model.prior_estimation.tilt import tilt

__all__ = ["banded_em"]

BAND = 0.1
DEVIATIONS = 1.0
_WIDEST = 1e3


def banded_em(
    evidence: PriorEvidence,
    *,
    band: float = BAND,
    deviations: float = DEVIATIONS,
    anchor: ArrayLike | None = None,
    image_weights: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> PriorEstimate:
    """The π that maximises mean_i log p(x_i; π) − Σ_c b_c · |π(c) − π_γ(c)|, where π_γ is `tilt`'s estimate.

    Maximum likelihood believes the posteriors class by class; those of a trained network are wrong by factors that
    differ from class to class, and no number of images mends that. Here a class stays on the tilt as long as the mean
    posterior of the images is within ± b_c of its share, and leaves it as far as brings the ratio back to that band. So
    factors within the band change nothing; a class that is ten times as frequent as the tilt has it is followed.

    b_c = band + deviations · (√((1/π_γ(c) − 1)/N) + e_c): the standard errors of that ratio by the number of test
    images, and of what the predictor says without a shift, `PriorEvidence.source_errors`. The fewer images, the wider.
    The defaults were chosen on training images that the networks of `benchmarks/unknown_priors.py` had not seen.

    Args:
        evidence: logits, home prior and training prior.
        band: half the width of the band of ratios, at least 0; with deviations 0, 0 is EM, and 1000 the tilt.
        deviations: standard errors that the band is wider, at least 0.
        anchor: another prior to stay on than the tilt, [C], or [R, C] for R weightings.
        image_weights: [N] or [R, N], how often each image counts; once each by default.
        tolerance: stop when no class moves by as much in an M-step.
        max_iterations: E-steps, at least 1.

    Returns:
        The estimate; `parameters` has the tilt's `gamma`, unless an anchor was given, and `off_anchor`, the part of the
        test set that is elsewhere than the anchor has it, ½ Σ_c |π(c) − π_γ(c)|.

    Raises:
        ValueError: neither training prior nor anchor, or a band that is negative or wider than 1000.
    """
    checked_range("band", band, 0, _WIDEST)
    checked_range("deviations", deviations, 0, _WIDEST)
    weightings = evidence.weightings(image_weights)
    images = float(evidence.shape[0]) if image_weights is None else np.atleast_2d(image_weights).sum(axis=1)
    parameters: dict[str, Floats] = {}
    if anchor is None:
        centre = tilt(evidence, image_weights=weightings)
        anchors, parameters = centre.prior, dict(centre.parameters)
    else:
        anchors = np.broadcast_to(np.asarray(anchor, np.float64), (len(weightings), evidence.shape[1]))
    errors = evidence.source_errors + _standard_errors(anchors, np.broadcast_to(images, len(weightings)))
    bands = np.minimum(band + deviations * errors, _WIDEST)
    likelihood = BandedLikelihood(evidence, weightings, anchors, bands)
    estimate = likelihood.maximise(tolerance=tolerance, max_iterations=max_iterations)
    moved = np.abs(estimate.prior - anchors).sum(axis=1) / 2
    return estimate.with_parameters(**parameters, off_anchor=moved).shaped_like(image_weights)


def _standard_errors(priors: Floats, images: Floats) -> Floats:
    """Of the share of each class among so many images [R] drawn from priors [R, C], relative to the share: [R, C].

    The ratio of mean posterior and prior has no larger one, whatever the posteriors are.
    """
    inverse = np.divide(1.0, priors, out=np.full_like(priors, np.inf), where=priors > 0)
    return np.sqrt(np.maximum(inverse - 1, 0) / np.maximum(images, 1)[:, np.newaxis])

"""Regularised learning under label shift: BBSE held near "no shift" (Azizzadenesheli et al., ICLR 2019)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import Floats, checked_range
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from model.prior_estimation.source_sample import prediction_moments

__all__ = ["rlls"]

_SMALLEST_RIDGE, _LARGEST_RIDGE = 1e-13, 1e6  # relative to ‖C‖²: no penalty, and nothing else


def rlls(
    evidence: PriorEvidence,
    *,
    soft: bool = False,
    alpha: float = 0.01,
    delta: float = 0.05,
    image_weights: ArrayLike | None = None,
) -> PriorEstimate:
    """π ∝ π_held-out · (1 + θ), where θ ≥ −1 minimises ‖C θ − b‖ + α ρ ‖θ‖ (norms, not squares).

    C as for `bbse`, b the difference between the test images' and the held-out images' mean predictions, and
    ρ = 3 (2 ln(2C/δ) / (3M) + √(2 ln(2C/δ) / M)) for M held-out images: with few of them the answer is "no shift".

    Args:
        evidence: logits and held-out images, which the predictor must not have been trained on.
        soft: predictions are posteriors instead of the class with the largest.
        alpha: ≥ 0, how much ρ counts; 0 is least squares.
        delta: in (0, 1], the probability with which the theory's bound may fail.
        image_weights: [N] or [R, N], how often each test image counts; once each by default.

    Returns:
        The estimate; `parameters["penalty"]` is α ρ.

    Raises:
        ValueError: no held-out images, or values outside of their ranges.
    """
    held_out = evidence.required_held_out("rlls")
    penalty = checked_range("alpha", alpha, 0, math.inf) * deviation(
        len(np.asarray(held_out.labels)), evidence.shape[1], checked_range("delta", delta, 1e-300, 1)
    )
    moments = prediction_moments(evidence, held_out, evidence.weightings(image_weights), soft=soft)
    importance = np.stack([regularised_weights(moments.joint, target, penalty) for target in moments.target])
    estimate = PriorEstimate(prior=moments.prior_of(importance))
    return estimate.with_parameters(penalty=np.full(len(importance), penalty)).shaped_like(image_weights)


def deviation(size: int, classes: int, delta: float) -> float:
    """ρ: how far C may be from its expectation with `size` held-out images, up to a probability of `delta`."""
    logarithm = 2 * math.log(2 * classes / delta)
    return 3 * (logarithm / (3 * size) + math.sqrt(logarithm / size))


def regularised_weights(joint: Floats, target: Floats, penalty: float) -> Floats:
    """w = 1 + θ ≥ 0 [C] with the least ‖C w − μ‖ + κ ‖w − 1‖, for `joint` C [C, C], `target` μ [C], `penalty` κ ≥ 0.

    The solution also has the least ‖C w − μ‖² + r ‖w − 1‖² for the r with r ‖w − 1‖ = κ ‖C w − μ‖. The left side grows
    faster with r than the right one, so r is found by bisection.
    """
    from scipy.optimize import brentq, nnls  # noqa: PLC0415 - takes a second, and only this estimate needs it

    classes = target.size
    unchanged = np.ones(classes)

    def ridge_weights(ridge: float) -> Floats:
        root = math.sqrt(ridge)
        return nnls(np.vstack([joint, root * np.eye(classes)]), np.append(target, root * unchanged))[0]

    def excess(log_ridge: float) -> float:
        """Below 0 where r is too small, above 0 where it is too large."""
        weights = ridge_weights(math.exp(log_ridge))
        pull = math.exp(log_ridge) * float(np.linalg.norm(weights - 1))
        push = penalty * float(np.linalg.norm(joint @ weights - target))
        return (pull - push) / (pull + push) if pull + push > 0 else 0.0

    scale = 2 * math.log(np.linalg.norm(joint))
    low, high = scale + math.log(_SMALLEST_RIDGE), scale + math.log(_LARGEST_RIDGE)
    if penalty == 0 or excess(low) >= 0:
        return nnls(joint, target)[0]
    if excess(high) <= 0:
        return unchanged
    return ridge_weights(math.exp(brentq(excess, low, high)))

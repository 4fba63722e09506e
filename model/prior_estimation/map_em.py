"""EM with a preference for flat priors: for small test sets, and tails without images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import Floats, checked_range
from model.prior_estimation.em import em
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from model.prior_estimation.maximise import TOLERANCE, AnchoredLikelihood

__all__ = ["map_em"]

MAX_ITERATIONS = 100  # as published; only λ near 1 needs more


def map_em(
    evidence: PriorEvidence,
    *,
    weight: float | None = None,
    alpha: ArrayLike | None = None,
    image_weights: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> PriorEstimate:
    """EM whose M-step is π = λ · mean posterior + (1 − λ) · uniform (Ye et al., MAPLS, WACV 2024).

    Args:
        evidence: logits and home prior.
        weight: λ in [0, 1]; 1 is EM, 0 the uniform prior. By default it is `automatic_weight` of EM's estimate.
        alpha: instead of λ, the Dirichlet prior of the priors, a number ≥ 1 or [C]: π ∝ Σ_i posterior_i + (α − 1).
        image_weights: [N] or [R, N], how often each image counts; once each by default.
        tolerance: stop when no class moves by as much in an M-step.
        max_iterations: E-steps, at least 1; of EM, too, where λ is automatic.

    Returns:
        The estimate; `parameters["weight"]` is λ.

    Raises:
        ValueError: both a weight and alpha, or values outside of their ranges.
    """
    size, classes = evidence.shape
    weightings = evidence.weightings(image_weights)
    anchor = np.full(classes, 1 / classes)
    if weight is not None and alpha is not None:
        raise ValueError("map_em takes a weight or alpha, not both")
    if alpha is not None:
        weight, anchor = _dirichlet_anchor(alpha, size, classes)
    if weight is None:
        plain = em(evidence, image_weights=weightings, tolerance=tolerance, max_iterations=max_iterations)
        weights = automatic_weight(evidence.source_prior, plain.prior)
    else:
        weights = np.full(len(weightings), checked_range("weight", weight, 0, 1))
    likelihood = AnchoredLikelihood(evidence, weightings, np.tile(anchor, (len(weightings), 1)), weights)
    estimate = likelihood.maximise(tolerance=tolerance, max_iterations=max_iterations)
    return estimate.with_parameters(weight=weights).shaped_like(image_weights)


def automatic_weight(source_prior: Floats, estimates: Floats) -> Floats:
    """MAPLS's λ for EM's estimates π̂ [R, C]: [R], in [0, 1].

    With D = KL, u uniform, g(γ, d) = γd/(1 + γd) and γ(d₀, λ₀) = (1/(1 − λ₀) − 1)/d₀:
    s = 1 − g(γ(½, 0.2), D(π_source‖u)), a = g(γ(½, s), D(π̂‖u)), b = g(γ(½, s), D(π̂‖π_source)), λ = 0.9a + 0.1(1 − b).
    Written out, γ(½, s) = 4 / D(π_source‖u). A uniform source prior makes it infinite: λ = 0.9.
    """
    uniform = np.full(source_prior.size, 1 / source_prior.size)
    width = _divergence(source_prior, uniform)
    if width < np.finfo(np.float64).eps * source_prior.size:
        return np.full(len(estimates), 0.9)
    from_uniform, from_source = (4 * _divergence(estimates, prior) / width for prior in (uniform, source_prior))
    return 0.9 * from_uniform / (1 + from_uniform) + 0.1 / (1 + from_source)


def _divergence(first: Floats, second: Floats) -> Floats:
    """KL(first‖second) in nats over the last axis; classes that `first` doesn't have count nothing."""
    present = first > 0
    ratios = np.divide(first, second, out=np.ones_like(first), where=present)
    return np.maximum((first * np.log(ratios)).sum(axis=-1), 0)


def _dirichlet_anchor(alpha: ArrayLike, size: int, classes: int) -> tuple[float, Floats]:
    """The λ and anchor [C] that are the same as Dirichlet's α for this many images."""
    extra = np.asarray(alpha, dtype=np.float64) - 1
    if extra.shape not in ((), (classes,)) or not (np.isfinite(extra).all() and extra.min() >= 0):
        raise ValueError(f"alpha must be a number of at least 1, or {classes} of them")
    extra = np.broadcast_to(extra, (classes,))
    total = extra.sum()
    return size / (size + total), extra / total if total > 0 else np.full(classes, 1 / classes)

"""How much surer a predictor gets the further the test prior lies from its home prior: exp(κ·KL(π_test‖π_home)).

A network trained on a long tail is at home there, and after the correction to a test prior of mostly rare classes it is
less sure than right. That is no fault of single classes: a temperature, a bias or a scale for each class, fitted to
hundreds of images of every class, hardly lower the ECE there, and this number κ does (docs/results.md has figures). The
few held-out images of rare classes decide it, so it is fitted by the Brier score, which a single surprising image can't
dominate.

Shapes: `M` held-out images, `C` classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.calibration import log_normaliser
from model.priors import checked_class_counts

Floats = NDArray[np.float64]

TILTS = (1.0, 0.0, -1.0)
"""Test priors that the held-out images are weighed to: their own one, the uniform one, the reversed one (∝ π^tilt)."""

_LARGEST_LOG_SCALE, _LARGEST_SHARPENING = 3.0, 1.0


def divergence(prior: ArrayLike, home_prior: ArrayLike) -> float:
    """KL(π‖π_home) in nats, of frequencies or counts [C]; classes that π_home does not have are passed over.

    Raises:
        ValueError: one of them is no prior.
    """
    ours, home = (counts / counts.sum() for counts in map(checked_class_counts, (prior, home_prior)))
    seen = (ours > 0) & (home > 0)
    return float((ours[seen] * np.log(ours[seen] / home[seen])).sum())


def sharpness(sharpening: float, target_prior: ArrayLike, home_prior: ArrayLike) -> float:
    """What logits are multiplied by after the correction from one prior [C] to another: 1 at home, and without κ."""
    return float(np.exp(sharpening * divergence(target_prior, home_prior))) if sharpening else 1.0


def shift_aware_fit(
    log_posteriors: Floats, labels: NDArray[np.integer], home_prior: Floats, *, shrinkage: float
) -> tuple[float, float]:
    """log 1/T and κ, by the Brier score of held-out images weighed to `TILTS` of their own prior.

    Each test prior counts as much as the weighed images are worth, (Σw)²/Σw² of them.

    Args:
        log_posteriors: [M, C], M ≥ 1.
        labels: [M].
        home_prior: [C], frequencies above 0.
        shrinkage: ≥ 0; shrinkage/2 · ((log T)² + κ²) is added to the sum of scores.

    Raises:
        ValueError: a negative shrinkage.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - takes a second, and only this fit needs it

    if not 0 <= shrinkage < np.inf:
        raise ValueError(f"shrinkage must be at least 0 and finite, not {shrinkage}")
    targets = [_Target.of(labels, home_prior, tilt) for tilt in TILTS]
    images = np.arange(len(labels))

    def objective(values: Floats) -> tuple[float, Floats]:
        score, gradient = shrinkage * float(values @ values) / 2, shrinkage * values
        scaled = log_posteriors * np.exp(values[0])
        for target in targets:
            factor = np.exp(values[1] * target.divergence)
            logits = (scaled + target.log_shift) * factor
            probabilities = np.exp(logits - log_normaliser(logits)[:, np.newaxis])
            errors = probabilities.copy()
            errors[images, labels] -= 1
            score += float(target.weights @ (errors**2).sum(axis=1))
            # ∂Brier/∂logit_c = 2 p_c (e_c − Σ_k p_k e_k), with e = p − one-hot
            slopes = errors - (probabilities * errors).sum(axis=1, keepdims=True)
            by_logits = 2 * probabilities * slopes * target.weights[:, np.newaxis]
            finite = np.where(np.isfinite(logits), logits, 0)
            by_scale, by_sharpening = (by_logits * scaled).sum() * factor, (by_logits * finite).sum()
            gradient = gradient + np.array([by_scale, by_sharpening * target.divergence])
        return score / len(labels), gradient / len(labels)

    bounds = [(-_LARGEST_LOG_SCALE, _LARGEST_LOG_SCALE), (-_LARGEST_SHARPENING, _LARGEST_SHARPENING)]
    log_scale, sharpening = minimize(objective, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(log_scale), float(sharpening)


class _Target:
    """A test prior that held-out images stand for.

    Args:
        weights: of the images, [M]; their sum is the effective number of images.
        log_shift: log π_test − log π_home, [C]; −∞ for classes without held-out images.
        divergence: KL(π_test‖π_home).
    """

    def __init__(self, weights: Floats, log_shift: Floats, divergence: float) -> None:
        self.weights, self.log_shift, self.divergence = weights, log_shift, divergence

    @classmethod
    def of(cls, labels: NDArray[np.integer], home_prior: Floats, tilt: float) -> _Target:
        """The prior ∝ π_held-out^tilt, for images with these labels [M]."""
        counts = np.bincount(labels, minlength=len(home_prior)).astype(np.float64)
        seen = counts > 0
        prior = np.where(seen, np.power(np.where(seen, counts, 1), tilt), 0)
        prior /= prior.sum()
        weights = (prior / np.where(seen, counts, 1))[labels]
        log_shift = np.log(prior, out=np.full(len(prior), -np.inf), where=seen) - np.log(home_prior)
        return cls(weights * weights.sum() / (weights**2).sum(), log_shift, divergence(prior, home_prior))

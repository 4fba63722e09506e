"""The prior that maximises a likelihood, alone or held near an anchor: what the estimators that iterate share.

The maximised function of the prior π is the mean log-likelihood of an image and a concave term that holds π near an
anchor; an EM step maximises it with the images' posteriors as they are under the prior before. Plain EM is slow where
classes are confusable, so each two steps are extrapolated by SQUAREM (Varadhan and Roland, Scandinavian Journal of
Statistics 2008), lengths being measured relative to the prior: Σ_c (Δπ_c)²/π_c. An extrapolation that lowers the
function is taken back, so that it never falls.

Shapes: `N` images, `C` classes, `R` weightings of the images, which are maximised side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.prior_estimation.checks import Floats
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence

TOLERANCE = 1e-8
MAX_ITERATIONS = 10_000

_BISECTIONS = 50
_SMALLEST = np.finfo(np.float64).tiny

_LARGEST_FALL = 0.1  # an extrapolation leaves a class at least this part of what EM gives it: 0 would be for good


@dataclass(frozen=True, eq=False)
class HeldLikelihood(ABC):
    """The function to maximise, and its EM step, for R weightings of the images.

    Args:
        evidence: the images.
        weightings: [R, N], of `PriorEvidence.weightings`.
        anchor: [R, C], each row with the sum 1: what π is held near.
    """

    evidence: PriorEvidence
    weightings: Floats
    anchor: Floats

    @abstractmethod
    def start(self) -> Floats:
        """The priors [R, C] to begin with, above 0 for every class that may have images."""

    @abstractmethod
    def step(self, priors: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """One EM step from priors [r, C] of r of the weightings: the next priors [r, C], and the function here [r]."""

    def maximise(self, *, tolerance: float, max_iterations: int) -> PriorEstimate:
        """Iterate until no class moves by `tolerance` in an EM step, or `max_iterations` E-steps are done.

        Raises:
            ValueError: a tolerance that is not positive, or fewer than 1 iteration.
        """
        if not tolerance > 0:
            raise ValueError(f"tolerance must be above 0, not {tolerance}")
        if max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, not {max_iterations}")
        here = self.start()
        rows = np.arange(len(here))
        there, value = self.step(here, rows)
        priors, values, objectives = there.copy(), value.copy(), [value.copy()]
        iterations = 1
        while rows.size and iterations + 3 <= max_iterations:
            beyond, value = self.step(there, rows)
            values[rows] = value
            objectives.append(values.copy())
            here = _extrapolated(here, there, beyond)
            there, leap_value = self.step(here, rows)
            iterations += 2
            fallen = np.flatnonzero(leap_value < value)
            if fallen.size:
                here[fallen] = beyond[fallen]
                there[fallen], leap_value[fallen] = self.step(here[fallen], rows[fallen])
                iterations += 1
            values[rows] = leap_value
            objectives.append(values.copy())
            priors[rows] = there
            moving = np.abs(there - here).max(axis=1) >= tolerance
            rows, here, there = rows[moving], here[moving], there[moving]
        return PriorEstimate(
            prior=priors, objectives=np.array(objectives), iterations=iterations, converged=not rows.size
        )


@dataclass(frozen=True, eq=False)
class AnchoredLikelihood(HeldLikelihood):
    """λ · mean_i log Σ_c π(c)/π_source(c) · p(c|x_i)  +  (1 − λ) · Σ_c a(c) · log π(c), with an anchor a.

    Its EM step is π ← λ · (mean posterior under π) + (1 − λ) · a; λ = 1 is maximum likelihood.

    Args:
        weight: λ, [R], each in [0, 1].
    """

    weight: Floats

    def start(self) -> Floats:
        """λ · π_source + (1 − λ) · a."""
        weight = self.weight[:, np.newaxis]
        return weight * self.evidence.source_prior + (1 - weight) * self.anchor

    def step(self, priors: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """See `HeldLikelihood`."""
        posteriors, log_likelihoods = self.evidence.expectation(priors, self.weightings[rows])
        weight = self.weight[rows]
        pull = (1 - weight)[:, np.newaxis] * self.anchor[rows]
        log_priors = np.log(priors, out=np.zeros_like(priors), where=pull > 0)
        following = weight[:, np.newaxis] * posteriors + pull
        return following, weight * log_likelihoods + np.einsum("rc,rc->r", pull, log_priors)


@dataclass(frozen=True, eq=False)
class BandedLikelihood(HeldLikelihood):
    """mean_i log Σ_c π(c)/π_source(c) · p(c|x_i)  −  Σ_c b(c) · |π(c) − a(c)|, with an anchor a and a band b.

    The derivative of the first term by π(c) is the mean posterior of class c over π(c): 1 for all classes where the
    images agree with π. A class is left at its anchor as long as that ratio is within ± b(c) of the other classes'.

    Args:
        band: b, [R, C], each at least 0; all 0 is maximum likelihood.
    """

    band: Floats

    def start(self) -> Floats:
        """The anchor, with something of the source prior."""
        return (self.anchor + self.evidence.source_prior) / 2

    def step(self, priors: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """See `HeldLikelihood`."""
        posteriors, log_likelihoods = self.evidence.expectation(priors, self.weightings[rows])
        anchor, band = self.anchor[rows], self.band[rows]
        penalties = (band * np.abs(priors - anchor)).sum(axis=1)
        return within_bands(posteriors, anchor, band), log_likelihoods - penalties


def within_bands(posteriors: Floats, anchor: Floats, band: Floats) -> Floats:
    """The priors [r, C] that maximise Σ_c r(c) · log π(c) − b(c) · |π(c) − a(c)| for r, a and b [r, C].

    With ν for the sum of 1, π(c) is r/(ν + b) where that is above a(c), r/(ν − b) where that is below, and else a(c).
    Its sum falls in ν and is 1 between 1 − max b and 1 + max b: bisection.
    """
    widest = band.max(axis=1)
    low, high = 1 - widest, 1 + widest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        too_much = _at(middle, posteriors, anchor, band).sum(axis=1) > 1
        low, high = np.where(too_much, middle, low), np.where(too_much, high, middle)
    priors = _at((low + high) / 2, posteriors, anchor, band)
    return priors / priors.sum(axis=1, keepdims=True)


def _at(level: Floats, posteriors: Floats, anchor: Floats, band: Floats) -> Floats:
    """π [r, C] for the multipliers ν [r]."""
    most = posteriors / np.maximum(level[:, np.newaxis] + band, _SMALLEST)
    below = level[:, np.newaxis] - band
    least = np.divide(posteriors, below, out=np.full_like(posteriors, np.inf), where=below > _SMALLEST)
    return np.clip(anchor, most, least)


def _extrapolated(here: Floats, there: Floats, beyond: Floats) -> Floats:
    """Where priors [r, C] and their next two EM steps lead to: SQUAREM's third scheme."""
    first = there - here
    change = (beyond - there) - first
    normal = there >= np.finfo(np.float64).tiny  # the inverse of what is smaller is infinite
    inverse = np.divide(1.0, there, out=np.zeros_like(there), where=normal)
    length, change_length = (np.einsum("rc,rc,rc->r", inverse, steps, steps) for steps in (first, change))
    ratio = np.divide(length, change_length, out=np.ones_like(length), where=change_length > 0)
    stride = np.maximum(np.sqrt(ratio), 1.0)[:, np.newaxis]  # 1 leads to the second EM step itself
    priors = np.maximum(here + 2 * stride * first + stride**2 * change, _LARGEST_FALL * beyond)
    return priors / priors.sum(axis=1, keepdims=True)

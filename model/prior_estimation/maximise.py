"""The prior that maximises a likelihood, alone or held near an anchor: what EM, MAP-EM and centred MAP-EM share.

The maximised function of the prior π is, with a weight λ and an anchor a,

    λ · mean_i log Σ_c π(c)/π_source(c) · p(c|x_i)  +  (1 − λ) · Σ_c a(c) · log π(c),

whose EM step is π ← λ · (mean posterior under π) + (1 − λ) · a. It is concave, and λ = 1 is maximum likelihood.
Plain EM is slow where classes are confusable, so each two steps are extrapolated by SQUAREM (Varadhan and Roland,
Scandinavian Journal of Statistics 2008), lengths being measured relative to the prior: Σ_c (Δπ_c)²/π_c. An
extrapolation that lowers the function is taken back, so that it never falls.

Shapes: `N` images, `C` classes, `R` weightings of the images, which are maximised side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.prior_estimation.checks import Floats
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence

TOLERANCE = 1e-8
MAX_ITERATIONS = 10_000

_LARGEST_FALL = 0.1  # an extrapolation leaves a class at least this part of what EM gives it: 0 would be for good


@dataclass(frozen=True, eq=False)
class AnchoredLikelihood:
    """The function to maximise, and its EM step, for R weightings of the images.

    Args:
        evidence: the images.
        weightings: [R, N], of `PriorEvidence.weightings`.
        weight: λ, [R], each in [0, 1].
        anchor: a, [R, C], each row with the sum 1.
    """

    evidence: PriorEvidence
    weightings: Floats
    weight: Floats
    anchor: Floats

    def step(self, priors: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """One EM step from priors [r, C] of r of the weightings: the next priors [r, C], and the function here [r]."""
        posteriors, log_likelihoods = self.evidence.expectation(priors, self.weightings[rows])
        weight = self.weight[rows]
        pull = (1 - weight)[:, np.newaxis] * self.anchor[rows]
        log_priors = np.log(priors, out=np.zeros_like(priors), where=pull > 0)
        following = weight[:, np.newaxis] * posteriors + pull
        return following, weight * log_likelihoods + np.einsum("rc,rc->r", pull, log_priors)

    def maximise(self, *, tolerance: float, max_iterations: int) -> PriorEstimate:
        """Iterate until no class moves by `tolerance` in an EM step, or `max_iterations` E-steps are done.

        Starts from λ · π_source + (1 − λ) · a.

        Raises:
            ValueError: a tolerance that is not positive, or fewer than 1 iteration.
        """
        if not tolerance > 0:
            raise ValueError(f"tolerance must be above 0, not {tolerance}")
        if max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, not {max_iterations}")
        weight = self.weight[:, np.newaxis]
        rows = np.arange(len(weight))
        here = weight * self.evidence.source_prior + (1 - weight) * self.anchor
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

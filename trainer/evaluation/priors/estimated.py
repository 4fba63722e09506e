"""The test prior is unknown, and estimated from the unlabelled test images: see `model.prior_estimation`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from model.prior_estimation import PriorEstimate, auto, bbse, bootstrap, em, map_em, rlls, tilt
from trainer.evaluation.priors.context import FoundPrior, HeldOutUse, PriorContext, TestPrior

__all__ = ["auto_prior", "bbse_prior", "em_prior", "map_em_prior", "rlls_prior", "tilt_prior"]

_ROUGHLY = 1e-5  # tolerance of a replicate, far below what it is to show
_ALL_THE_SAME = "the test prior is estimated from the test images without their labels, by"


def _estimated(
    name: str,
    estimator: Callable[..., PriorEstimate],
    by: str,
    *,
    iterates: bool = False,
    held_out: HeldOutUse = "helpful",
) -> TestPrior:
    roughly = partial(estimator, tolerance=_ROUGHLY) if iterates else estimator

    def find(logits: np.ndarray, context: PriorContext) -> FoundPrior:
        evidence = context.evidence(logits)
        estimate = estimator(evidence)
        if not context.replicates:
            return FoundPrior(estimate.prior, in_words=_in_words(estimate))
        interval = bootstrap(roughly, evidence, replicates=context.replicates)
        spread = np.quantile(np.abs(interval.priors - estimate.prior).sum(axis=1), 0.95)
        return FoundPrior(estimate.prior, (interval.low, interval.high), float(spread), _in_words(estimate))

    return TestPrior(name, find, f"{_ALL_THE_SAME} {by}", held_out=held_out, estimator=roughly)


def _in_words(estimate: PriorEstimate) -> str:
    """What was found on the way: "γ −0.83, 4 % elsewhere"."""
    parts, found = [], estimate.parameters
    if "gamma" in found:
        parts.append("home prior" if math.isnan(found["gamma"]) else f"γ {found['gamma']:.2f}")
    if "off_anchor" in found:
        parts.append(f"{100 * found['off_anchor']:.0f} % elsewhere")
    if "weight" in found:
        parts.append(f"λ {found['weight']:.2f}")
    return ", ".join(parts)


auto_prior = _estimated(
    "auto",
    auto,
    "banded EM: π_home or π_train^γ, and other frequencies only of classes where the evidence is strong",
    iterates=True,
)
em_prior = _estimated("em", em, "maximum likelihood (EM)", iterates=True)
map_em_prior = _estimated("map-em", map_em, "MAP-EM", iterates=True)
tilt_prior = _estimated("tilt", tilt, "maximum likelihood within the family π_train^γ")
bbse_prior = _estimated("bbse", bbse, "black-box shift estimation (BBSE) with held-out images", held_out="needed")
rlls_prior = _estimated("rlls", rlls, "regularised least squares (RLLS) with held-out images", held_out="needed")

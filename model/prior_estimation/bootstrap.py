"""How sure an estimate is: the bootstrap over the test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.prior_estimation.checks import Floats, checked_range
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence
from utils.random_streams import Stream, generator
from utils.row_blocks import row_blocks


@dataclass(frozen=True, eq=False)
class PriorInterval:
    """Intervals of an estimated prior.

    Args:
        low: [C], lower ends, each class by itself.
        high: [C], upper ends.
        priors: [replicates, C], what was estimated from each resampled test set; for intervals of what follows from it.
    """

    low: Floats
    high: Floats
    priors: Floats


def bootstrap(
    estimator: Callable[..., PriorEstimate],
    evidence: PriorEvidence,
    *,
    replicates: int = 200,
    level: float = 0.95,
    seed: int = 1,
) -> PriorInterval:
    """Percentile intervals of an estimator's prior over test sets drawn, with replacement, from the test images.

    They tell what another draw of as many images would change, not what wrong posteriors or few held-out images do:
    those stay as they are. Replicates are estimated side by side, as many as fit a fixed memory; the result does not
    depend on how many.

    Args:
        estimator: one of `ESTIMATORS`, with options by `functools.partial`: a tolerance of 1e-5 is enough here.
        evidence: what the estimator needs.
        replicates: test sets, at least 2.
        level: how often an interval is to hold the truth, in 0 … 1.
        seed: of the draws.

    Raises:
        ValueError: values outside of their ranges, and what the estimator raises.
    """
    if replicates < 2:
        raise ValueError(f"replicates must be at least 2, not {replicates}")
    tail = (1 - checked_range("level", level, 0, 1)) / 2
    size, classes = evidence.shape
    blocks = [range(replicates)[block] for block in row_blocks(replicates, max(size, classes))]
    priors = np.concatenate([estimator(evidence, image_weights=_draws(size, seed, block)).prior for block in blocks])
    low, high = np.quantile(priors, [tail, 1 - tail], axis=0)
    return PriorInterval(low, high, priors)


def _draws(size: int, seed: int, replicates: range) -> Floats:
    """How often each of N images is drawn in each of these replicates, [R, N]."""
    draws = (generator(seed, Stream.BOOTSTRAP, replicate).integers(size, size=size) for replicate in replicates)
    return np.stack([np.bincount(images, minlength=size) for images in draws]).astype(np.float64)

"""Thresholds of prediction sets: quantiles of held-out images' scores, weighted towards another class prior.

Shapes: `M` held-out images, `C` classes. Source: Podkopaev and Ramdas, UAI 2021; the thresholds between a class's own
and those of all: Ding, Fermanian, Salmon, arXiv 2507.06867.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.prior_estimation.checks import Floats

_ROUNDING = 1e-9  # of a sum of weights: 0.9 · 70 may come out above 63


def importance_weights(target_prior: Floats | None, held_out_prior: Floats) -> Floats:
    """w_y = π_target(y)/π_held-out(y) [C]: inf for a class that only images to come have, 0 for one that none have."""
    if target_prior is None:
        return np.ones_like(held_out_prior)
    absent = np.where(target_prior > 0, np.inf, 0.0)
    return np.divide(target_prior, held_out_prior, out=absent, where=held_out_prior > 0)


def weighted_quantiles(scores: Floats, weights: Floats, candidates: Floats, alpha: float) -> Floats:
    """q(y), the smallest q with Σ_i w_i·1[s_i ≤ q] ≥ (1 − α)(Σ_i w_i + w_y) [C]; inf where there is none.

    The candidate's own weight stands at +∞, as its score is not known. With equal weights q is the ⌈(M+1)(1−α)⌉-th
    smallest.

    Args:
        scores: [M].
        weights: [M], w_i.
        candidates: [C], w_y.
        alpha: the part that may lie above.
    """
    total = weights.sum()
    if total == 0:  # the images to come have none of the held-out images' classes
        return np.full(candidates.size, np.inf)
    order = np.argsort(scores, kind="stable")
    needed = (1 - alpha) * (total + candidates)
    place = np.searchsorted(np.cumsum(weights[order]), needed * (1 - _ROUNDING))
    return np.append(scores[order], np.inf)[place]


def class_quantiles(scores: Floats, labels: NDArray[np.integer], classes: int, alpha: float, largest: float) -> Floats:
    """q_y [C], from the images of each class alone; the largest possible score where it would be inf."""
    quantiles = np.full(classes, largest)
    for label in np.unique(labels):
        own = scores[labels == label]
        quantiles[label] = weighted_quantiles(own, np.ones_like(own), np.ones(1), alpha)[0]
    return np.minimum(quantiles, largest)


def interpolated(common: Floats, own: Floats, class_weight: float) -> Floats:
    """(1 − w)·q + w·q_y [C]; exactly one of them at the ends, where the other may be inf, and where they are equal."""
    if class_weight in (0, 1):
        return common if class_weight == 0 else own
    return np.where(common == own, common, (1 - class_weight) * common + class_weight * own)


def effective_size(weights: Floats) -> float:
    """(Σw)²/Σw² of weights [M]; 0 where all are 0."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0

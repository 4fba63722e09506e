"""The prior of a stream of batches, which may drift or jump: what is expected of the next batch after each.

Shapes: `C` classes, `T` batches so far.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import Floats, checked_prior


class ExponentialWindow:
    """A mean of the batches' estimates in which each batch counts `decay` times as much as the next.

    Args:
        prior: [C], what is expected before the first batch.
        decay: in [0, 1); 1/(1 − decay) batches count, about. The first prior counts as one batch.
    """

    def __init__(self, prior: ArrayLike, *, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, not {decay}")
        self.prior = checked_prior("prior", prior, np.size(prior))
        self.decay = decay

    def update(self, estimate: ArrayLike) -> Floats:
        """After a batch whose estimated prior is `estimate` [C]: the prior expected of the next batch [C]."""
        batch_prior = checked_prior("estimate", estimate, self.prior.size)
        self.prior = self.decay * self.prior + (1 - self.decay) * batch_prior
        return self.prior


class FollowLeadingHistory:
    """FLH-FTL (Baby et al., NeurIPS 2023): means of the last 1, 2, …, T batches, weighed by how well they foretold.

    After each batch the weights are multiplied by exp(−η ‖foretold − seen‖²) and normalised; the mean that starts with
    this batch joins with 1/(T + 1) of the weight. It needs no length of a window: after a jump the short means win,
    while nothing changes the long ones.

    Args:
        prior: [C], what is expected before the first batch.
        rate: η; 1/C by default.
    """

    def __init__(self, prior: ArrayLike, *, rate: float | None = None) -> None:
        self.prior = checked_prior("prior", prior, np.size(prior))
        self.rate = 1 / self.prior.size if rate is None else rate
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, not {self.rate}")
        self.weights: Floats = np.empty(0)  # [T], of the mean of all batches first
        self._means: Floats = np.empty((0, self.prior.size))  # [T, C]

    def update(self, estimate: ArrayLike) -> Floats:
        """After a batch whose estimated prior is `estimate` [C]: the prior expected of the next batch [C]."""
        batch_prior = checked_prior("estimate", estimate, self.prior.size)
        batches = len(self.weights) + 1
        losses = ((self._means - batch_prior) ** 2).sum(axis=1)
        weights = self.weights * np.exp(-self.rate * (losses - losses.min(initial=np.inf)))
        share_of_new = 1 / (batches + 1) if batches > 1 else 1.0
        old_weights = (1 - share_of_new) * weights / max(weights.sum(), np.finfo(float).tiny)
        self.weights = np.append(old_weights, share_of_new)
        lengths = np.arange(batches, 0, -1)[:, np.newaxis]  # of each mean, this batch included
        self._means = np.vstack([self._means, np.zeros_like(batch_prior)])
        self._means += (batch_prior - self._means) / lengths
        self.prior = self.weights @ self._means
        return self.prior

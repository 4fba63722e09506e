"""What an aggregation offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def _unknown(homes: np.ndarray) -> np.ndarray | None:
    return None


@dataclass(frozen=True)
class Predictor:
    """One predictor made of several experts.

    Args:
        name: in the results' column `predictor`.
        combine: the experts' raw logits of a test set [M, E, C] → the predictor's [M, C].
        home: the priors that the experts are at home on [E, C] (or their mean's [1, C]) → the predictor's [C]; None
            where that can't be said.
        learn: what is learnt from the test images first: each expert's logits of two views of them [2, M, E, C] → the
            predictor; None: nothing is.
        expert_weights: that were learnt, length E; None: none were.
    """

    name: str
    combine: Callable[[np.ndarray], np.ndarray]
    home: Callable[[np.ndarray], np.ndarray | None] = _unknown
    learn: Callable[[np.ndarray], Predictor] | None = None
    expert_weights: tuple[float, ...] | None = None

    def learnt(self, views: np.ndarray | None) -> Predictor:
        """The predictor for a test set of these views.

        Raises:
            ValueError: it learns from views, and there are none.
        """
        if self.learn is None:
            return self
        if views is None:
            raise ValueError(f"{self.name} learns from two views of the test images, which are not given")
        return self.learn(views)

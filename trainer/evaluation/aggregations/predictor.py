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
    """

    name: str
    combine: Callable[[np.ndarray], np.ndarray]
    home: Callable[[np.ndarray], np.ndarray | None] = _unknown

"""What an aggregation offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Predictor:
    """One predictor made of several experts.

    Args:
        name: in the results' column `predictor`.
        combine: the experts' raw logits of a test set [M, E, C] → the predictor's [M, C].
    """

    name: str
    combine: Callable[[np.ndarray], np.ndarray]

"""What is assumed of the test prior, and what follows for the logits, [M, C] → [M, C]; one registry.

An entry is a function of logits and `PriorContext`. A new one is a file here that lists it in `__all__`; its name
stands in the results' column `prior`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.evaluation.priors.context import PriorContext
from utils.registry import collect

__all__ = ["PRIORS", "PriorContext"]

PRIORS: dict[str, Callable[[np.ndarray, PriorContext], np.ndarray]] = collect(__name__, __path__)

"""How the experts' logits become one predictor's, [N, E, C] → [N, C]; one registry.

An entry is a function of the number of experts that returns the predictors it offers. A new one is a file here that
lists it in `__all__`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trainer.evaluation.aggregations.predictor import Predictor
from utils.registry import collect

__all__ = ["AGGREGATIONS", "Predictor", "predictors"]

AGGREGATIONS: dict[str, Callable[[int], list[Predictor]]] = collect(__name__, __path__)


def predictors(names: Iterable[str], num_experts: int) -> list[Predictor]:
    """The predictors that the named aggregations make of so many experts."""
    return [predictor for name in names for predictor in AGGREGATIONS[name](num_experts)]

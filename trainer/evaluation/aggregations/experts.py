"""Each expert alone."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.aggregations.predictor import Predictor

__all__ = ["experts"]


def experts(num_experts: int) -> list[Predictor]:
    """One predictor an expert; none where a single expert is the ensemble."""
    return [one_expert(expert, num_experts) for expert in range(num_experts)] if num_experts > 1 else []


def one_expert(expert: int, num_experts: int) -> Predictor:
    """The expert of this index, counted from 0."""

    def combine(logits: np.ndarray) -> np.ndarray:
        return logits[:, expert]  # [M, E, C] → [M, C]

    def home(homes: np.ndarray) -> np.ndarray | None:
        return homes[expert] if len(homes) == num_experts else None

    return Predictor(f"expert {expert}", combine, home)

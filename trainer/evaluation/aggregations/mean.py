"""The published predictor: the plain mean of the experts' raw logits."""

from __future__ import annotations

import numpy as np

from model.priors import mean_home
from trainer.evaluation.aggregations.predictor import Predictor

__all__ = ["mean"]


def mean(num_experts: int) -> list[Predictor]:
    """The ensemble; with a mean τ of 1 it is unbiased for the uniform prior (arXiv 2206.05260)."""
    return [Predictor("ensemble", mean_of_experts, mean_home)]


def mean_of_experts(logits: np.ndarray) -> np.ndarray:
    """[M, E, C] → [M, C]."""
    return logits.mean(axis=1)

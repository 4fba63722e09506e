"""SADE's test-time weights: the experts that predict two views of the test images alike count more."""

from __future__ import annotations

import numpy as np

from model.expert_weights import agreement_weights
from trainer.evaluation.aggregations.predictor import Predictor

__all__ = ["sade"]


def sade(num_experts: int) -> list[Predictor]:
    """The weighted mean of the experts' logits; none where a single expert is the ensemble."""
    return [Predictor("sade", _unfitted, learn=learn)] if num_experts > 1 else []


def learn(views: np.ndarray) -> Predictor:
    """From two views of the test images, each expert's logits [2, M, E, C]."""
    weights = agreement_weights(views)

    def combine(logits: np.ndarray) -> np.ndarray:
        return np.einsum("mec,e->mc", logits, weights.astype(logits.dtype))

    def home(homes: np.ndarray) -> np.ndarray | None:
        """The weighted geometric mean of the experts' own priors."""
        if len(homes) != len(weights):
            return None
        with np.errstate(divide="ignore"):
            logs = weights @ np.log(homes)
        shares = np.exp(logs - logs.max())
        return np.asarray(shares / shares.sum())

    return Predictor("sade", combine, home, expert_weights=tuple(weights.tolist()))


def _unfitted(logits: np.ndarray) -> np.ndarray:
    raise ValueError("sade learns its weights from views of the test images first")

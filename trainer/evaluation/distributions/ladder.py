"""The published ladder: long-tailed selections of the test split along the training frequencies and against them."""

from __future__ import annotations

import numpy as np

from data_loader.datasets.longtail import (
    longtail_shares,
    proportional_counts,
    select_per_class,
    shift_factor,
    shifted_indices,
)
from trainer.evaluation.distributions.split import TestSplit

__all__ = ["backward", "forward"]


def forward(split: TestSplit, ratio: float) -> np.ndarray:
    """Imbalance `ratio`, the most frequent training class the most frequent here."""
    return _shifted(split, ratio, backward=False)


def backward(split: TestSplit, ratio: float) -> np.ndarray:
    """Imbalance `ratio`, the rarest training class the most frequent here."""
    return _shifted(split, ratio, backward=True)


def checked_ratio(ratio: float) -> float:
    """An imbalance ratio as it is, or a ValueError."""
    if ratio < 1:
        raise ValueError(f"the imbalance ratio must be at least 1, not {ratio}")
    return ratio


def _shifted(split: TestSplit, ratio: float, *, backward: bool) -> np.ndarray:
    """By the published rule from a uniform split; else in the same proportions, as far as the counts allow."""
    factor, class_counts = shift_factor(checked_ratio(ratio)), split.training_counts
    if split.is_uniform:
        return shifted_indices(split.targets, class_counts, factor=factor, backward=backward)
    order = np.argsort(-class_counts, kind="stable")
    shares = np.empty(len(order))
    shares[order[::-1] if backward else order] = longtail_shares(len(order), factor)
    return select_per_class(split.targets, proportional_counts(split.sizes, shares))

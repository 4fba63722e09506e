"""As many images of each class."""

from __future__ import annotations

import numpy as np

from data_loader.datasets.longtail import proportional_counts, select_per_class
from trainer.evaluation.distributions.split import TestSplit

__all__ = ["uniform"]


def uniform(split: TestSplit) -> np.ndarray:
    """The whole split where it is uniform; else, by the benchmark's rule, as many images of each as the rarest has."""
    if split.is_uniform:
        return np.arange(len(split.targets))
    return select_per_class(split.targets, proportional_counts(split.sizes, np.ones(len(split.sizes))))

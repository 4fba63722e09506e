"""Long tails that do not follow the training frequencies: the ladder's counts, the classes in a random order."""

from __future__ import annotations

import numpy as np

from data_loader.datasets.longtail import longtail_counts, select_per_class, shift_factor
from trainer.evaluation.distributions.ladder import checked_ratio
from trainer.evaluation.distributions.split import TestSplit
from utils.random_streams import Stream, generator

__all__ = ["shuffled"]


def shuffled(split: TestSplit, ratio: float, seed: int) -> np.ndarray:
    """Imbalance `ratio` over classes permuted by `seed`; the largest class has all its images."""
    num_classes = len(split.class_counts)
    largest = int(np.bincount(split.targets, minlength=num_classes).max())
    factor = shift_factor(checked_ratio(ratio))
    counts = longtail_counts(largest, num_classes, imb_type="exp", imb_factor=factor)
    order = generator(int(seed), Stream.TEST_PRIOR).permutation(num_classes)
    return select_per_class(split.targets, counts[order])

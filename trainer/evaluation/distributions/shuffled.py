"""Long tails that do not follow the training frequencies: the ladder's counts, the classes in a random order."""

from __future__ import annotations

import numpy as np

from data_loader.datasets.longtail import (
    longtail_counts,
    longtail_shares,
    proportional_counts,
    select_per_class,
    shift_factor,
)
from trainer.evaluation.distributions.ladder import checked_ratio
from trainer.evaluation.distributions.split import TestSplit
from utils.random_streams import Stream, generator

__all__ = ["shuffled"]


def shuffled(split: TestSplit, ratio: float, seed: int) -> np.ndarray:
    """Imbalance `ratio` over classes permuted by `seed`; from a uniform split the largest class has all its images."""
    num_classes, factor = len(split.sizes), shift_factor(checked_ratio(ratio))
    order = generator(int(seed), Stream.TEST_PRIOR).permutation(num_classes)
    if split.is_uniform:
        counts = longtail_counts(int(split.sizes.max()), num_classes, imb_type="exp", imb_factor=factor)[order]
    else:
        counts = proportional_counts(split.sizes, longtail_shares(num_classes, factor)[order])
    return select_per_class(split.targets, counts)

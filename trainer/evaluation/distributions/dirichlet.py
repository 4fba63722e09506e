"""Class priors drawn at random, as in the literature on label shift."""

from __future__ import annotations

import numpy as np

from data_loader.datasets.longtail import proportional_counts, select_per_class
from trainer.evaluation.distributions.split import TestSplit
from utils.random_streams import Stream, generator

__all__ = ["dirichlet"]


def dirichlet(split: TestSplit, alpha: float, seed: int) -> np.ndarray:
    """A prior from Dirichlet(alpha, …, alpha) by `seed`; as many images, none twice, as the classes' counts allow.

    A small alpha concentrates the images on a few classes. Class y has ⌊M·π_y⌋ images, M being the largest number for
    which no class needs more than it has. Classes without test images have no part in the prior.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, not {alpha}")
    sizes = split.sizes
    weights = generator(int(seed), Stream.TEST_PRIOR).gamma(alpha, size=len(sizes)) * (sizes > 0)
    if not weights.sum() > 0:  # an alpha so small that every draw is 0: the limit is one class alone
        weights = np.zeros(len(sizes))
        weights[generator(int(seed), Stream.TEST_PRIOR).choice(np.flatnonzero(sizes))] = 1
    return select_per_class(split.targets, proportional_counts(sizes, weights, all_classes=False))

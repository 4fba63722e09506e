"""What prediction sets achieve on labelled images: coverage, size, and what chance alone would do. Pure NumPy.

Shapes: `N` images, `C` classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import betabinom

from model.prior_estimation.checks import Floats, checked_labels
from model.scores import mean_of_present
from utils.shot_groups import shot_groups


@dataclass(frozen=True, eq=False)
class SetReport:
    """Coverage and size of prediction sets. Only the coverage over all is what split conformal prediction promises.

    Args:
        images: N.
        coverage: the part of the sets that have the right class.
        macro_coverage: the mean of the classes' coverages, over classes that have images.
        group_coverage: the same of the classes with many, medium and few training images; nan where there are none.
        class_coverage: [C]; nan for a class without images.
        intrusion: [C], the part of the other classes' sets that have this class; nan where there are none.
        mean_size: classes a set.
        size_90: the smallest size that 90 % of the sets don't exceed.
        empty: the part of the sets that have no class.
    """

    images: int
    coverage: float
    macro_coverage: float
    group_coverage: dict[str, float]
    class_coverage: Floats
    intrusion: Floats
    mean_size: float
    size_90: int
    empty: float


def report_sets(sets: NDArray[np.bool_], labels: ArrayLike, class_counts: ArrayLike) -> SetReport:
    """How sets fare on labelled images.

    Args:
        sets: [N, C], N ≥ 1, of `model.prediction_sets.PredictionSets.of`.
        labels: [N].
        class_counts: [C], training images of each class.

    Raises:
        ValueError: other shapes, or labels that are no classes.
    """
    size, classes = sets.shape
    checked = checked_labels("labels", labels, size, classes)
    if np.shape(class_counts) != (classes,):
        raise ValueError(f"class_counts need the shape [{classes}], not {list(np.shape(class_counts))}")
    covered = sets[np.arange(size), checked]
    images = np.bincount(checked, minlength=classes)
    hits = np.bincount(checked[covered], minlength=classes)
    class_coverage = _shares(hits, images)
    sizes = sets.sum(axis=1)
    return SetReport(
        images=size,
        coverage=float(covered.mean()),
        macro_coverage=mean_of_present(class_coverage),
        group_coverage={
            name: mean_of_present(class_coverage[members]) for name, members in shot_groups(class_counts).items()
        },
        class_coverage=class_coverage,
        intrusion=_shares(sets.sum(axis=0) - hits, size - images),
        mean_size=float(sizes.mean()),
        size_90=int(np.quantile(sizes, 0.9, method="inverted_cdf")),
        empty=float((sizes == 0).mean()),
    )


def coverage_interval(held_out_images: int, test_images: int, alpha: float) -> tuple[float, float]:
    """Within which limits the coverage over all falls for 95 % of draws, where scores have no ties.

    The number of covered test images is beta-binomial, BetaBin(N, k, M + 1 − k), k = ⌈(M + 1)(1 − α)⌉ (Vovk, 2012).

    Args:
        held_out_images: M ≥ 1; of class-wise thresholds those of the class.
        test_images: N ≥ 1.
        alpha: above 0 and below 1.

    Returns:
        (low, high), parts of the test images; (1, 1) where M is so small that every set has every class.
    """
    rank = math.ceil((held_out_images + 1) * (1 - alpha) * (1 - 1e-9))
    if rank > held_out_images:
        return 1.0, 1.0
    low, high = betabinom.ppf([0.025, 0.975], test_images, rank, held_out_images + 1 - rank)
    return float(low) / test_images, float(high) / test_images


def _shares(parts: NDArray[np.integer], wholes: NDArray[np.integer]) -> Floats:
    return np.divide(parts, wholes, out=np.full(parts.size, np.nan), where=wholes > 0)

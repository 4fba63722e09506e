"""How sure a metric is: the bootstrap over test images.

Shapes: `N` images, `R` replicates, `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from model.class_calibration import ClassBins, ClassForecasts
from model.metrics import LabelledLogits, Metric
from utils.random_streams import Stream, generator

REPLICATES = 200


def bootstrap_intervals(
    labelled: LabelledLogits,
    metrics: Mapping[str, Metric],
    *,
    replicates: int = REPLICATES,
    level: float = 0.95,
    seed: int = 1,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of metrics over test sets drawn, with replacement, from the images (Efron, 1979).

    N images are drawn for each replicate, whatever their classes are. A metric that is not defined on some of them (a
    group none of whose images was drawn) has its interval from the others, (nan, nan) where there are none. What is
    never negative and near 0, calibration errors above all, is larger on replicates than on the images themselves, as
    noise only adds to it: its interval leans upwards.

    Args:
        labelled: the test set.
        metrics: by their names.
        replicates: R ≥ 2.
        level: how often an interval is to hold the value of all images that the test images were drawn from, in 0 … 1.
        seed: of the draws.

    Returns:
        (low, high) of each metric.

    Raises:
        ValueError: another number of replicates, or another level.
    """
    if replicates < 2 or not 0 < level < 1:
        raise ValueError(f"need two replicates and a level within 0 … 1, not {replicates} and {level}")
    resampled = _Resampled(labelled, replicates, seed)
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for replicate in range(replicates):
        drawn = resampled.replicate(replicate)
        for name, metric in metrics.items():
            values[name].append(metric.of_set(drawn))
    return {name: _percentiles(np.array(found), (1 - level) / 2) for name, found in values.items()}


class _Resampled:
    """The replicates of a test set. Their class bins share one pass over the logits, at the first use."""

    def __init__(self, labelled: LabelledLogits, replicates: int, seed: int) -> None:
        size = len(labelled.targets)
        draws = (generator(seed, Stream.BOOTSTRAP, number).integers(size, size=size) for number in range(replicates))
        self.labelled = labelled
        self.times_drawn = np.stack([np.bincount(images, minlength=size) for images in draws]).astype(np.float32)

    def replicate(self, number: int) -> LabelledLogits:
        samples = np.repeat(np.arange(self.times_drawn.shape[1]), self.times_drawn[number].astype(np.intp))
        return self.labelled.selected(samples, partial(self._bins, number))

    def _bins(self, number: int) -> ClassBins:
        return self._forecasts.bins(number)

    @cached_property
    def _forecasts(self) -> ClassForecasts:
        whole = self.labelled
        return ClassForecasts(
            whole.logits, whole.targets, log_normalisers=whole.log_normalisers, image_weights=self.times_drawn
        )


def _percentiles(values: NDArray[np.float64], tail: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)

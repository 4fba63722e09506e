"""Calibration of every class's probability, and the Brier score that follows from the same bins. Pure NumPy.

Each class's probability is a forecast of "it is this class": of N images there are N forecasts of each of the C
classes, in M bins of equal width. Everything here is a function of the sums over class and bin, for which probabilities
are computed block by block.

Shapes: `N` samples, `C` classes, `M` bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.calibration import Floats, softmax
from utils.row_blocks import row_blocks


class ClassBins(NamedTuple):
    """Sums over the samples whose probability of a class lies in a bin, all [C, M]."""

    counts: Floats  # of samples
    probabilities: Floats  # of p(c|x)
    squares: Floats  # of p(c|x)²
    hits: Floats  # of samples of the class
    hit_probabilities: Floats  # of p(c|x) of samples of the class

    @property
    def size(self) -> float:
        """N, the number of samples."""
        return float(self.counts[0].sum())


class BrierParts(NamedTuple):
    """What the Brier score is the sum of, `reliability − resolution + uncertainty + within_bins`.

    Source: Murphy, 1973, with the terms that probabilities of a bin differ by (Stephenson, Coelho, Jolliffe, Weather
    and Forecasting 2008); summed over the classes.
    """

    reliability: float  # mean squared distance of a bin's mean probability and frequency: 0 is calibrated
    resolution: float  # variance of the bins' frequencies: what is known of the image
    uncertainty: float  # Σ_c o(1 − o) of the classes' frequencies o: a property of the labels alone
    within_bins: float  # variance of the probabilities within bins, less twice their covariance with the labels


def class_bins(logits: Floats, targets: ArrayLike, *, num_bins: int = 15) -> ClassBins:
    """Samples by probability, for every class; bins are (low, high], 0 goes to the first.

    Args:
        logits: [N, C] with N ≥ 1.
        targets: [N], class indices.
        num_bins: M ≥ 1.
    """
    labels = np.asarray(targets)
    classes = logits.shape[1]
    edges = np.linspace(0, 1, num_bins + 1)
    sums = np.zeros((5, classes * num_bins))

    def cells_of(classes_of_values: NDArray[np.integer], values: Floats) -> NDArray[np.integer]:
        bins = np.maximum(np.searchsorted(edges, values, side="left") - 1, 0)
        return classes_of_values * num_bins + bins

    def add(row: int, cells: NDArray[np.integer], weights: Floats | None = None) -> None:
        sums[row] += np.bincount(cells, weights, minlength=sums.shape[1])

    for block in row_blocks(*logits.shape):
        probabilities = np.ascontiguousarray(softmax(logits[block]), dtype=np.float64)  # [n, C]
        hit_probabilities = probabilities[np.arange(len(probabilities)), labels[block]]
        hit_cells = cells_of(labels[block], hit_probabilities)
        add(3, hit_cells)
        add(4, hit_cells, hit_probabilities)
        # An image has few probabilities beyond the first bin (M − 1 at most): these are sorted in, the others summed.
        flat = probabilities.ravel()
        large = np.flatnonzero(flat > edges[1])
        values = flat[large]
        cells = cells_of(large % classes, values)
        add(0, cells)
        add(1, cells, values)
        add(2, cells, values**2)
        flat[large] = 0
        sums[1, ::num_bins] += probabilities.sum(axis=0)
        sums[2, ::num_bins] += np.einsum("nc,nc->c", probabilities, probabilities)
    shaped = sums.reshape(5, classes, num_bins)
    shaped[0, :, 0] = len(labels) - shaped[0, :, 1:].sum(axis=1)
    return ClassBins(*shaped)


def classwise_calibration_error(bins: ClassBins) -> float:
    """Class-wise ECE, 1/C Σ_c Σ_b n_cb/N · |frequency_cb − probability_cb|, in [0, 1].

    Source: Kull et al., NeurIPS 2019. All classes count alike, with samples or without.
    """
    return float(np.abs(bins.hits - bins.probabilities).sum(axis=1).mean() / bins.size)


def brier_score(bins: ClassBins) -> float:
    """Mean over samples of Σ_c (p(c|x) − [x is of class c])², in 0 … 2."""
    return float(max((bins.squares - 2 * bins.hit_probabilities + bins.hits).sum() / bins.size, 0.0))


def brier_parts(bins: ClassBins) -> BrierParts:
    """The Brier score in parts that add up to it."""
    counts = np.maximum(bins.counts, 1)  # sums over empty bins are 0
    mean_probabilities, frequencies = bins.probabilities / counts, bins.hits / counts
    base_rates = bins.hits.sum(axis=1, keepdims=True) / bins.size
    reliability = (bins.counts * (mean_probabilities - frequencies) ** 2).sum() / bins.size
    resolution = (bins.counts * (frequencies - base_rates) ** 2).sum() / bins.size
    variance = bins.squares - bins.probabilities * mean_probabilities
    covariance = bins.hit_probabilities - bins.probabilities * frequencies
    within_bins = (variance - 2 * covariance).sum() / bins.size
    return BrierParts(
        float(reliability), float(resolution), float((base_rates * (1 - base_rates)).sum()), float(within_bins)
    )

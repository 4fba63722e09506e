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

from model.calibration import Floats, log_normaliser
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


class ClassForecasts:
    """Every class's probability of every image, as far as the sums over bins need it; computed block by block.

    An image has few probabilities beyond the first bin (M − 1 at most): these are kept, the others summed. So the bins
    of many resampled test sets cost one pass over the logits.

    Args:
        logits: [N, C] with N ≥ 1.
        targets: [N], class indices.
        log_normalisers: log Σ exp of each image's logits [N]; None: computed here.
        image_weights: how often each image counts, [R, N] for R sets at once; None: one set, each image once.
        num_bins: M ≥ 1; bins are (low, high], 0 goes to the first.

    Attributes:
        brier_scores: Σ_c (p(c|x) − [x is of class c])² of each image, [N], in 0 … 2.
    """

    def __init__(
        self,
        logits: Floats,
        targets: ArrayLike,
        *,
        log_normalisers: Floats | None = None,
        image_weights: Floats | None = None,
        num_bins: int = 15,
    ) -> None:
        labels, (size, classes) = np.asarray(targets), logits.shape
        normalisers = log_normaliser(logits) if log_normalisers is None else log_normalisers
        self._weights = np.ones((1, size)) if image_weights is None else image_weights
        self._shape, self._edges = (classes, num_bins), np.linspace(0, 1, num_bins + 1)
        self._small = np.zeros((2, len(self._weights), classes))  # Σ p and Σ p² of the first bin
        self.brier_scores = np.empty(size)
        hits, kept = np.empty(size, self._weights.dtype), []
        for block in row_blocks(size, classes):
            probabilities = np.minimum(np.exp(logits[block] - normalisers[block, np.newaxis]), 1)  # [n, C]
            probabilities = np.ascontiguousarray(probabilities, dtype=self._weights.dtype)  # so that ravel is a view
            hits[block] = probabilities[np.arange(len(probabilities)), labels[block]]
            squares = np.einsum("nc,nc->n", probabilities, probabilities, dtype=np.float64)
            self.brier_scores[block] = np.maximum(squares - 2 * hits[block] + 1, 0)
            flat = probabilities.ravel()
            large = np.flatnonzero(flat > self._edges[1])
            values, images = flat[large], large // classes
            kept.append((images + block.start, self._cells(large % classes, values), values.astype(np.float64)))
            flat[large] = 0
            self._small[0] += self._weights[:, block] @ probabilities
            self._small[1] += self._weights[:, block] @ np.square(probabilities, out=probabilities)
        self._images, self._large_cells, self._large = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        self._hits, self._hit_cells = hits, self._cells(labels, hits)

    def bins(self, row: int = 0) -> ClassBins:
        """The bins of one of the R sets."""
        weights = self._weights[row].astype(np.float64, copy=False)
        of_large = weights[self._images]
        sums = [
            self._sums(self._large_cells, of_large),
            self._sums(self._large_cells, of_large * self._large),
            self._sums(self._large_cells, of_large * self._large**2),
            self._sums(self._hit_cells, weights),
            self._sums(self._hit_cells, weights * self._hits),
        ]
        sums[0][:, 0] = weights.sum() - sums[0].sum(axis=1)
        for summed, small in zip(sums[1:3], self._small, strict=True):
            summed[:, 0] += small[row]
        return ClassBins(*sums)

    def _cells(self, labels: NDArray[np.integer], probabilities: Floats) -> NDArray[np.intp]:
        bins = np.maximum(np.searchsorted(self._edges, probabilities, side="left") - 1, 0)
        return labels.astype(np.intp) * self._shape[1] + bins

    def _sums(self, cells: NDArray[np.integer], weights: Floats) -> Floats:
        sums: Floats = np.bincount(cells, weights, minlength=self._shape[0] * self._shape[1]).astype(
            np.float64, copy=False
        )
        return sums.reshape(self._shape)


def classwise_calibration_error(bins: ClassBins) -> float:
    """Class-wise ECE, 1/C Σ_c Σ_b n_cb/N · |frequency_cb − probability_cb|, in [0, 1].

    Source: Kull et al., NeurIPS 2019. All classes count alike, with samples or without.
    """
    return float(np.abs(bins.hits - bins.probabilities).sum(axis=1).mean() / bins.size)


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

"""Calibration: does confidence match accuracy? Pure NumPy on logits [N, C] or confidences [N].

Shapes: `N` samples, `C` classes, `M` bins. Source: Guo et al., arXiv 1706.04599.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.row_blocks import row_blocks

Floats = NDArray[np.floating]


class ReliabilityBins(NamedTuple):
    """A reliability diagram; `confidences` and `accuracies` are nan in bins without samples."""

    edges: Floats  # [M + 1]
    counts: NDArray[np.intp]  # [M]
    confidences: Floats  # [M], mean confidence
    accuracies: Floats  # [M], fraction correct

    @property
    def surpluses(self) -> Floats:
        """n_b/N · (confidence_b − accuracy_b) of each bin, [M]; 0 for an empty one."""
        return np.nan_to_num(self.confidences - self.accuracies) * (self.counts / self.counts.sum())

    @property
    def expected_error(self) -> float:
        """ECE = Σ_b n_b/N · |accuracy_b − confidence_b|, in [0, 1]."""
        return float(np.abs(self.surpluses).sum())

    @property
    def maximum_error(self) -> float:
        """MCE: the largest |accuracy_b − confidence_b| of a filled bin, in [0, 1]."""
        return float(np.nanmax(np.abs(self.accuracies - self.confidences)))

    @property
    def signed_errors(self) -> tuple[float, float]:
        """The two halves of ECE: bins that are surer than right, and bins that are righter than sure.

        Over-confidence Σ_b n_b/N · max(confidence_b − accuracy_b, 0), and under-confidence with the signs changed.
        Their sum is ECE, their difference the mean confidence less the accuracy.
        """
        surpluses = self.surpluses
        return float(np.maximum(surpluses, 0).sum()), float(np.maximum(-surpluses, 0).sum())


def log_normaliser(logits: Floats) -> Floats:
    """log Σ exp over the last axis, [..., C] → [...], in float32 at least; large logits do not overflow."""
    rows = logits.reshape(-1, logits.shape[-1])
    normalisers = np.empty(len(rows), dtype=np.promote_types(logits.dtype, np.float32))
    for block in row_blocks(*rows.shape):
        values = rows[block].astype(normalisers.dtype, copy=False)
        largest = values.max(axis=-1, keepdims=True)
        normalisers[block] = largest[:, 0] + np.log(np.exp(values - largest).sum(axis=-1))
    return normalisers.reshape(logits.shape[:-1])


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis, [..., C] → [..., C], in float32 at least."""
    logits = logits.astype(np.promote_types(logits.dtype, np.float32), copy=False)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def top_confidences(logits: Floats) -> Floats:
    """Probability of the predicted class, [..., C] → [...], without the other probabilities; never above 1."""
    return np.exp(np.minimum(logits.max(axis=-1) - log_normaliser(logits), 0))


def negative_log_likelihood(logits: Floats, targets: ArrayLike) -> float:
    """Mean of −log p(target) in nats, for logits [N, C] and class indices [N]."""
    labels = np.asarray(targets)
    return float(np.mean(log_normaliser(logits) - logits[np.arange(labels.size), labels], dtype=np.float64))


def checked_confidences(confidences: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 [N], or a ValueError: no samples, other lengths, or a confidence outside of [0, 1]."""
    probabilities = np.asarray(confidences, dtype=np.float64)
    hits = np.asarray(correct, dtype=np.float64)
    if probabilities.size == 0 or probabilities.shape != hits.shape:
        raise ValueError(f"need one confidence and one result a sample, not {probabilities.size} and {hits.size}")
    if not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("confidences must lie in [0, 1]")
    return probabilities, hits


def mean_of_ties(keys: Floats, values: Floats) -> Floats:
    """Each of `values` [N] replaced by the mean of those with the same key: then the order of ties does not matter."""
    _, group = np.unique(keys, return_inverse=True)
    return (np.bincount(group, values) / np.bincount(group))[group]


def reliability_bins(confidences: ArrayLike, correct: ArrayLike, *, num_bins: int = 15) -> ReliabilityBins:
    """Samples in `num_bins` bins of equal width by their confidence; bins are (low, high], 0 goes to the first.

    Args:
        confidences: [N], top probabilities in [0, 1].
        correct: [N], whether each prediction is right.
        num_bins: M ≥ 1.

    Raises:
        ValueError: no samples, other lengths, or a confidence outside of [0, 1].
    """
    probabilities, hits = checked_confidences(confidences, correct)
    edges = np.linspace(0, 1, num_bins + 1)
    index = np.maximum(np.searchsorted(edges, probabilities, side="left") - 1, 0)
    counts = np.bincount(index, minlength=num_bins)
    filled = counts > 0
    means = [
        np.divide(np.bincount(index, values, num_bins), counts, out=np.full(num_bins, np.nan), where=filled)
        for values in (probabilities, hits)
    ]
    return ReliabilityBins(edges, counts, *means)


def adaptive_calibration_error(confidences: ArrayLike, correct: ArrayLike, *, num_bins: int = 15) -> float:
    """ECE over bins of equally many samples (as nearly as can be), in [0, 1]; N bins for N < M.

    Source: Nguyen and O'Connor, EMNLP 2015. Arguments as for `reliability_bins`.
    """
    probabilities, hits = checked_confidences(confidences, correct)
    order = np.argsort(probabilities, kind="stable")
    excess = (probabilities - mean_of_ties(probabilities, hits))[order]
    return sum(abs(float(part.sum())) for part in np.array_split(excess, min(num_bins, excess.size))) / excess.size

"""Accuracies and confusion of predictions on a test set: pure NumPy, fractions in [0, 1].

Shapes: `N` samples, `C` classes. Predictions and targets are class indices [N].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.shot_groups import shot_groups


def confusion_matrix(predictions: ArrayLike, targets: ArrayLike, num_classes: int) -> NDArray[np.intp]:
    """Counts [C, C]: row the true class, column the predicted one.

    Raises:
        ValueError: an index outside of 0 … C−1, or other lengths.
    """
    predicted, true = np.asarray(predictions), np.asarray(targets)
    if predicted.shape != true.shape:
        raise ValueError(f"need one prediction a target, not {predicted.size} and {true.size}")
    both = np.concatenate([predicted, true])
    if both.size and not (both.min() >= 0 and both.max() < num_classes):
        raise ValueError(f"class indices must lie in 0 … {num_classes - 1}, not in {both.min()} … {both.max()}")
    cells = true.astype(np.intp) * num_classes + predicted.astype(np.intp)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def normalise_rows(confusion: NDArray[np.integer]) -> NDArray[np.float64]:
    """A confusion matrix [C, C] as fractions of each true class: rows sum to 1, those of absent classes to 0."""
    totals = confusion.sum(axis=1, keepdims=True)
    return np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)


def class_accuracies(predictions: ArrayLike, targets: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """Fraction of each class's samples that are predicted right [C]; nan where a class has no samples."""
    predicted, true = np.asarray(predictions), np.asarray(targets)
    if true.size and not (true.min() >= 0 and true.max() < num_classes):
        raise ValueError(f"targets must lie in 0 … {num_classes - 1}, not in {true.min()} … {true.max()}")
    totals = np.bincount(true, minlength=num_classes)
    right = np.bincount(true[predicted == true], minlength=num_classes)
    return np.divide(right, totals, out=np.full(num_classes, np.nan), where=totals > 0)


def class_f1_scores(predictions: ArrayLike, targets: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """Each class's 2 · right / (samples + predicted), the harmonic mean of recall and precision [C].

    nan where a class has no samples, as for `class_accuracies`.
    """
    predicted, true = np.asarray(predictions), np.asarray(targets)
    recalls = class_accuracies(predicted, true, num_classes)
    samples = np.bincount(true, minlength=num_classes)
    return 2 * recalls * samples / np.maximum(samples + np.bincount(predicted, minlength=num_classes), 1)


def mean_of_present(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not nan; nan, without a warning, where there is none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def balanced_accuracy(predictions: ArrayLike, targets: ArrayLike, num_classes: int) -> float:
    """Mean of the class accuracies over the classes present among the targets."""
    return mean_of_present(class_accuracies(predictions, targets, num_classes))


def group_accuracies(accuracies: NDArray[np.float64], class_counts: ArrayLike) -> dict[str, float]:
    """Mean class accuracy of each of `shot_groups`, over the classes present; nan for a group without any.

    Args:
        accuracies: [C], of `class_accuracies`.
        class_counts: [C], training images a class, of the run's own configuration.
    """
    return {name: mean_of_present(accuracies[members]) for name, members in shot_groups(class_counts).items()}

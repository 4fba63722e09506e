"""Labels such as CIFAR's test files have, and the benchmark's rule for shifted test sets in its first form."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.distributions import TestSplit


def cifar_split(num_classes: int, imbalance: int = 100) -> TestSplit:
    """10,000 labels in a random order, as CIFAR's test files have them."""
    targets = np.random.default_rng(num_classes).permutation(np.arange(10_000) % num_classes)
    largest = 50_000 // num_classes
    return TestSplit(targets, [int(largest * (1 / imbalance) ** (i / (num_classes - 1))) for i in range(num_classes)])


def plain_subset(targets: np.ndarray, ratio: int, *, backward: bool) -> list[int]:
    """The benchmark's rule, written as its first implementation was: NumPy's global generator, class after class."""
    num_classes = int(targets.max()) + 1
    largest = len(targets) / num_classes
    counts = [int(largest * (1 / ratio) ** (i / (num_classes - 1.0))) for i in range(num_classes)]
    if backward:
        counts = counts[::-1]
    np.random.seed(0)
    chosen: list[int] = []
    for label, count in enumerate(counts):
        where = np.where(targets == label)[0]
        np.random.shuffle(where)
        chosen.extend(where[:count])
    return chosen

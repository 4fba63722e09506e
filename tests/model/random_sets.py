"""Random labelled logits for tests of metrics."""

from __future__ import annotations

import numpy as np

from model.metrics import LabelledLogits

CLASSES = 9
COUNTS = np.array([500, 300, 101, 100, 60, 20, 19, 4, 1])  # three classes a group


def random_set(seed: int = 0, size: int = 400) -> LabelledLogits:
    """Random predictions, every class among the labels, right more often than by chance."""
    random = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(CLASSES), random.integers(0, CLASSES, size - CLASSES)])
    logits = random.normal(size=(size, CLASSES))
    logits[np.arange(size), targets] += 1
    return LabelledLogits(logits, targets, COUNTS)

"""Test sets whose posteriors and priors are known exactly: mixtures of Gaussians, a component for each class."""

from __future__ import annotations

import numpy as np

from model.prior_estimation import HeldOut


class GaussianMixture:
    """Classes are Gaussians of unit variance whose means are drawn once; `spread` is how far apart these lie."""

    def __init__(self, classes: int, *, spread: float = 1.0, dimensions: int = 8, seed: int = 0) -> None:
        self.classes = classes
        self.means = np.random.default_rng([seed, 77]).normal(size=(classes, dimensions)) * spread

    def draw(self, prior: np.ndarray, size: int, *, seed: int, home: np.ndarray | None = None) -> HeldOut:
        """Exact logits under the home prior (uniform by default), and labels drawn from `prior`."""
        random = np.random.default_rng([seed, 78])
        labels = random.choice(self.classes, size, p=prior)
        points = self.means[labels] + random.normal(size=(size, self.means.shape[1]))
        logits = points @ self.means.T - 0.5 * (self.means**2).sum(axis=1)
        return HeldOut(logits if home is None else logits + np.log(home), labels)


def long_tail(classes: int, ratio: float = 50.0) -> np.ndarray:
    """Exponential class frequencies, [C]."""
    counts = np.geomspace(ratio, 1, classes)
    return counts / counts.sum()


def uniform(classes: int) -> np.ndarray:
    return np.full(classes, 1 / classes)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """L1."""
    return float(np.abs(first - second).sum())


def posteriors(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)

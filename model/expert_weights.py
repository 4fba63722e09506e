"""Weights of experts for test images without labels: those under which two views of an image are predicted alike.

SADE (Zhang, Hooi, Hong, Feng, NeurIPS 2022): experts that fit the test distribution are the more stable ones on it.

Shapes: `N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.calibration import softmax

Floats = NDArray[np.float64]


def agreement_weights(views: NDArray[np.floating]) -> Floats:
    """The weights [E], above 0 with the sum 1, that maximise the mean `view_agreement` of the images.

    By L-BFGS over their logarithms from equal weights, where it stays for experts that are all alike.

    Args:
        views: each expert's logits of two views of the same images, [2, N, E, C] with N ≥ 1, finite.

    Raises:
        ValueError: another shape, or numbers that are not finite.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - takes a second, and only this fit needs it

    if views.ndim != 4 or len(views) != 2 or 0 in views.shape or not np.isfinite(views).all():
        raise ValueError(f"views need the shape [2, N, E, C] with finite numbers, not {list(views.shape)}")
    values = views.astype(np.float64)
    found = minimize(_loss, np.zeros(values.shape[2]), args=(values,), jac=True, method="L-BFGS-B")
    return _normalised(found.x)


def view_agreement(views: NDArray[np.floating], weights: Floats) -> Floats:
    """The cosine [N] between the two views' probabilities, softmax of the weighted mean of the experts' logits.

    Args:
        views: [2, N, E, C].
        weights: [E].
    """
    first, second = (softmax(np.einsum("nec,e->nc", view.astype(np.float64), weights)) for view in views)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / norms


def _normalised(log_weights: Floats) -> Floats:
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def _loss(log_weights: Floats, views: Floats) -> tuple[float, Floats]:
    """Minus the mean agreement, and its derivatives by the logarithms [E]."""
    weights = _normalised(log_weights)
    predicted = [softmax(np.einsum("nec,e->nc", view, weights)) for view in views]
    norms = [np.linalg.norm(each, axis=1, keepdims=True) for each in predicted]
    cosines = (predicted[0] * predicted[1]).sum(axis=1, keepdims=True) / (norms[0] * norms[1])
    by_weight = np.zeros_like(weights)
    for own, other in ((0, 1), (1, 0)):
        by_probability = (predicted[other] / norms[other] - cosines * predicted[own] / norms[own]) / norms[own]
        mean = (by_probability * predicted[own]).sum(axis=1, keepdims=True)
        by_logit = predicted[own] * (by_probability - mean)  # [N, C], through the softmax
        by_weight += np.einsum("nec,nc->e", views[own], by_logit) / len(cosines)
    gradient = weights * (by_weight - weights @ by_weight)
    return -float(cosines.mean()), -gradient

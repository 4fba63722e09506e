"""The training prior to a power, one number for all classes: it can't follow noise, nor a shuffled tail."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import Floats
from model.prior_estimation.estimate import PriorEstimate
from model.prior_estimation.evidence import PriorEvidence

__all__ = ["tilt"]

LIMIT = 3.0
_GRID = np.linspace(-LIMIT, LIMIT, 25)
_SHRINKAGE = (np.sqrt(5) - 1) / 2  # of golden-section search
_SEARCH_STEPS = 32  # bring the grid's step of ¼ on both sides to 1e-7


def tilt(evidence: PriorEvidence, *, image_weights: ArrayLike | None = None) -> PriorEstimate:
    """π ∝ π_train^γ with the γ in −3 … 3 under which the test images are likeliest.

    γ = 1 is the training prior, 0 the uniform one, −1 its inverse. The likelihood may have several maxima in γ: a grid
    is searched first, then the interval around its best point.

    Args:
        evidence: logits, home prior and training prior.
        image_weights: [N] or [R, N], how often each image counts; once each by default.

    Returns:
        The estimate; `parameters["gamma"]` is γ, 0 where the training prior is uniform and says nothing.

    Raises:
        ValueError: no training prior.
    """
    training_prior = evidence.required_training_prior("tilt")
    weightings = evidence.weightings(image_weights)
    gammas = np.zeros(len(weightings))
    if np.ptp(training_prior[training_prior > 0]) > 0:
        gammas = _likeliest_gammas(evidence, training_prior, weightings)
    estimate = PriorEstimate(prior=tilted(training_prior, gammas), parameters={"gamma": gammas})
    return estimate.shaped_like(image_weights)


def tilted(training_prior: Floats, gammas: Floats) -> Floats:
    """The members of the family with γ of [R]: [R, C]. A class without training images counts as the rarest."""
    rarest = training_prior[training_prior > 0].min()
    logs = gammas[:, np.newaxis] * np.log(np.maximum(training_prior, rarest))
    priors = np.exp(logs - logs.max(axis=1, keepdims=True))
    return priors / priors.sum(axis=1, keepdims=True)


def _likeliest_gammas(evidence: PriorEvidence, training_prior: Floats, weightings: Floats) -> Floats:
    """[R], by the grid and golden-section search (Kiefer, 1953), for all weightings [R, N] side by side."""

    def log_likelihoods(gammas: Floats) -> Floats:
        images = evidence.image_log_likelihoods(tilted(training_prior, gammas))  # [R, N]
        return np.einsum("rn,rn->r", weightings, images)

    on_grid = weightings @ evidence.image_log_likelihoods(tilted(training_prior, _GRID)).T  # [R, 25]
    best = on_grid.argmax(axis=1)
    low, high = _GRID[np.maximum(best - 1, 0)], _GRID[np.minimum(best + 1, _GRID.size - 1)]
    left, right = high - _SHRINKAGE * (high - low), low + _SHRINKAGE * (high - low)
    at_left, at_right = log_likelihoods(left), log_likelihoods(right)
    for _ in range(_SEARCH_STEPS):
        leftwards = at_left > at_right
        low, high = np.where(leftwards, low, left), np.where(leftwards, right, high)
        new = np.where(leftwards, high - _SHRINKAGE * (high - low), low + _SHRINKAGE * (high - low))
        at_new = log_likelihoods(new)
        left, right = np.where(leftwards, new, right), np.where(leftwards, left, new)
        at_left, at_right = np.where(leftwards, at_new, at_right), np.where(leftwards, at_left, at_new)
    middle = (low + high) / 2
    best_on_grid = on_grid[np.arange(best.size), best]
    return np.where(log_likelihoods(middle) >= best_on_grid, middle, _GRID[best])

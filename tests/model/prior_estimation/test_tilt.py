"""The tilt: one number, the likeliest."""

from __future__ import annotations

import numpy as np
import pytest

from model.prior_estimation import PriorEvidence, tilt
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, uniform

optimize = pytest.importorskip("scipy.optimize")

MIXTURE = GaussianMixture(20, spread=0.8)
TRAINING = long_tail(20, 30)


def power(gamma: float) -> np.ndarray:
    weights = TRAINING**gamma
    return weights / weights.sum()


@pytest.mark.parametrize("gamma", [-1.5, -1, 0, 0.5, 1, 2])
@pytest.mark.parametrize("home", [uniform(20), TRAINING, power(-1)], ids=["uniform", "training", "inverse"])
def test_the_power_is_recovered_wherever_the_predictor_is_at_home(gamma, home):
    logits = MIXTURE.draw(power(gamma), 3000, seed=4, home=home).logits
    estimate = tilt(PriorEvidence(logits, home, TRAINING * 500))
    assert estimate.parameters["gamma"] == pytest.approx(gamma, abs=0.1 + 0.1 * abs(gamma))
    np.testing.assert_allclose(estimate.prior, power(estimate.parameters["gamma"]))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_likeliest_of_a_fine_grid_and_of_a_search_by_scipy(seed):
    evidence = PriorEvidence(MIXTURE.draw(uniform(20), 60, seed=seed).logits, uniform(20), TRAINING)
    gamma = tilt(evidence).parameters["gamma"]

    def loss(value: float) -> float:
        return -float(evidence.image_log_likelihoods(power(value)).mean())

    assert loss(gamma) <= min(loss(value) for value in np.linspace(-3, 3, 601))
    bounds = (gamma - 0.5, gamma + 0.5)
    best = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    assert gamma == pytest.approx(best.x, abs=1e-5)


def test_the_higher_of_two_maxima_is_taken():
    """Ten images are of the first class or of the last, hardly of the one between: both ends explain them."""
    training = np.array([0.8, 0.15, 0.05])
    logits = np.log(np.array([[0.49, 0.001, 0.509]] * 10 + [[0.001, 0.998, 0.001]]))
    evidence = PriorEvidence(logits, uniform(3), training)
    grid = np.linspace(-3, 3, 2001)
    priors = training[np.newaxis] ** grid[:, np.newaxis]
    likelihoods = evidence.image_log_likelihoods(priors / priors.sum(axis=1, keepdims=True)).mean(axis=1)
    peaks = np.flatnonzero((likelihoods[1:-1] > likelihoods[:-2]) & (likelihoods[1:-1] > likelihoods[2:])) + 1
    assert len(peaks) == 2
    assert tilt(evidence).parameters["gamma"] == pytest.approx(grid[likelihoods.argmax()], abs=3e-3)


def test_beyond_the_limits_it_stays_at_them():
    logits = np.log(np.full((50, 3), [0.998, 0.001, 0.001]))
    assert tilt(PriorEvidence(logits, uniform(3), [0.4, 0.3, 0.3])).parameters["gamma"] == pytest.approx(3, abs=1e-6)


def test_a_uniform_training_prior_says_nothing():
    estimate = tilt(PriorEvidence(MIXTURE.draw(power(1), 50, seed=0).logits, uniform(20), np.full(20, 7)))
    assert estimate.parameters["gamma"] == 0
    np.testing.assert_allclose(estimate.prior, uniform(20))


@pytest.mark.parametrize("gamma", [-1, 1])
def test_a_class_without_training_images_counts_as_the_rarest(gamma):
    training = np.append(TRAINING[:-1], 0)
    estimate = tilt(PriorEvidence(MIXTURE.draw(power(gamma), 500, seed=0).logits, uniform(20), training))
    assert estimate.prior[-1] == pytest.approx(estimate.prior[-2])

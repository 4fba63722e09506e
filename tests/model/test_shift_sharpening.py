"""Sharpness that grows with the distance of the test prior: by hand, against another optimiser, on made posteriors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special, stats

from model.posthoc_calibration import shift_aware_temperature_scaling
from model.shift_sharpening import divergence, sharpness
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, uniform

CLASSES = 4
MIXTURE = GaussianMixture(CLASSES, spread=0.8, dimensions=5)
TAIL = long_tail(CLASSES, 20)


def test_the_divergence_is_that_of_scipy_and_passes_over_classes_that_one_of_them_lacks() -> None:
    ours, home = np.array([4, 3, 2, 1.0]), np.array([1, 2, 3, 4.0])
    assert divergence(ours, home) == pytest.approx(stats.entropy(ours, home))
    assert divergence(ours, 7 * ours) == pytest.approx(0, abs=1e-15)
    assert divergence([1, 1, 0], [1, 1, 2]) == pytest.approx(np.log(2))
    assert np.isfinite(divergence([1, 1, 2], [1, 1, 0]))


def test_the_factor_is_one_at_home_and_without_a_sharpening() -> None:
    assert sharpness(0.7, TAIL, TAIL) == pytest.approx(1)
    assert sharpness(0.0, TAIL, uniform(CLASSES)) == 1
    assert sharpness(0.5, [3, 1], [1, 1]) == pytest.approx(np.exp(0.5 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))))


@pytest.mark.parametrize("home", [TAIL, uniform(CLASSES)], ids=["tail", "uniform"])
@pytest.mark.parametrize("shrinkage", [0, 3])
def test_the_fit_is_the_minimum_that_another_optimiser_finds(home: np.ndarray, shrinkage: float) -> None:
    logits, labels = MIXTURE.draw(TAIL, 200, seed=0, home=home)
    log_posteriors = special.log_softmax(0.6 * np.asarray(logits), axis=1)
    counts = np.bincount(labels, minlength=CLASSES)

    def score(values: np.ndarray) -> float:
        total = shrinkage * float(values @ values) / 2
        for target in (counts / counts.sum(), uniform(CLASSES), (1 / counts) / (1 / counts).sum()):
            weights = (target / counts)[labels]
            effective = weights.sum() ** 2 / (weights**2).sum()
            shift = np.log(target) - np.log(home)
            factor = np.exp(values[1] * stats.entropy(target, home))
            errors = special.softmax((log_posteriors * np.exp(values[0]) + shift) * factor, axis=1)
            errors[np.arange(len(labels)), labels] -= 1
            total += effective * np.average((errors**2).sum(axis=1), weights=weights)
        return total

    best = optimize.minimize(score, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    found = shift_aware_temperature_scaling(log_posteriors, labels, home, temperature_shrinkage=shrinkage)
    assert [-np.log(found.temperature), found.sharpening] == pytest.approx(best.x, abs=2e-3)
    assert np.ptp(found.scale) == 0
    np.testing.assert_array_equal(found.bias, 0)


def test_right_posteriors_stay_as_they_are() -> None:
    logits, labels = MIXTURE.draw(TAIL, 8000, seed=3, home=TAIL)
    found = shift_aware_temperature_scaling(logits, labels, TAIL)
    assert found.temperature == pytest.approx(1, abs=0.1)
    assert abs(found.sharpening) < 0.1

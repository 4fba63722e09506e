"""MAP-EM: its weight by the published formula, its fixed points, and what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.prior_estimation import PriorEvidence, centred_map_em, em, map_em, tilt
from model.prior_estimation.map_em import automatic_weight
from tests.model.prior_estimation.simulated import GaussianMixture, distance, long_tail, posteriors, uniform

CLASSES = 12
TRUTH = np.random.default_rng(5).dirichlet(np.ones(CLASSES))
LOGITS = GaussianMixture(CLASSES, spread=0.7).draw(TRUTH, 150, seed=2).logits
EVIDENCE = PriorEvidence(LOGITS, uniform(CLASSES), training_prior=long_tail(CLASSES))


def mean_posterior(prior: np.ndarray) -> np.ndarray:
    return posteriors(LOGITS + np.log(prior)).mean(axis=0)


def test_a_weight_of_one_is_em_and_of_zero_the_uniform_prior():
    np.testing.assert_allclose(map_em(EVIDENCE, weight=1, max_iterations=10_000).prior, em(EVIDENCE).prior, atol=1e-7)
    np.testing.assert_allclose(map_em(EVIDENCE, weight=0).prior, uniform(CLASSES))


@pytest.mark.parametrize("weight", [0.3, 0.8])
def test_it_is_a_fixed_point_of_its_m_step(weight):
    estimate = map_em(EVIDENCE, weight=weight)
    expected = weight * mean_posterior(estimate.prior) + (1 - weight) / CLASSES
    np.testing.assert_allclose(estimate.prior, expected, atol=1e-7)
    assert np.diff(estimate.objectives).min() >= 0
    assert estimate.converged


@pytest.mark.parametrize("alpha", [1.0, 3.0, np.linspace(1, 5, CLASSES)])
def test_dirichlets_form_adds_pseudo_counts(alpha):
    estimate = map_em(EVIDENCE, alpha=alpha, max_iterations=10_000)
    expected = len(LOGITS) * mean_posterior(estimate.prior) + alpha - 1
    np.testing.assert_allclose(estimate.prior, expected / expected.sum(), atol=1e-6)


def divergence(first, second):
    return sum(p * math.log(p / q) for p, q in zip(first, second, strict=True) if p > 0)


def test_the_automatic_weight_is_the_published_formula():
    def slope(distance, weight):
        return (1 / (1 - weight) - 1) / distance

    def saturation(slope, distance):
        return slope * distance / (1 + slope * distance)

    source, found, flat = [0.7, 0.2, 0.1], [0.1, 0.0, 0.9], [1 / 3] * 3
    steep = 1 - saturation(slope(0.5, 0.2), divergence(source, flat))
    first = saturation(slope(0.5, steep), divergence(found, flat))
    second = saturation(slope(0.5, steep), divergence(found, source))
    weights = automatic_weight(np.array(source), np.array([found, found]))
    np.testing.assert_allclose(weights, 0.9 * first + 0.1 * (1 - second))
    assert automatic_weight(np.array(flat), np.array([found]))[0] == 0.9


def test_the_automatic_weight_is_used_where_none_is_given():
    home = long_tail(CLASSES, 20)
    evidence = PriorEvidence(LOGITS + np.log(home), home)
    weight = automatic_weight(home, em(evidence, max_iterations=100).prior[np.newaxis])[0]
    estimate = map_em(evidence)
    assert estimate.parameters["weight"] == pytest.approx(weight)
    np.testing.assert_allclose(estimate.prior, map_em(evidence, weight=weight).prior, atol=1e-7)
    assert map_em(EVIDENCE).parameters["weight"] == 0.9


@pytest.mark.parametrize("options", [{}, {"weight": 0.7}, {"alpha": 2.0}])
def test_with_few_images_it_is_nearer_to_the_truth_than_em(options):
    classes, size = 20, 100
    mixture = GaussianMixture(classes, spread=0.8)
    gains = []
    for draw in range(25):
        truth = np.random.default_rng([draw, 9]).dirichlet(np.ones(classes))
        evidence = PriorEvidence(mixture.draw(truth, size, seed=draw).logits, uniform(classes))
        gains.append(distance(em(evidence).prior, truth) - distance(map_em(evidence, **options).prior, truth))
    assert np.mean(gains) > 2 * np.std(gains) / math.sqrt(len(gains))


def test_around_the_tilt_it_goes_from_the_tilt_to_em():
    np.testing.assert_allclose(centred_map_em(EVIDENCE, weight=0).prior, tilt(EVIDENCE).prior, atol=1e-9)
    np.testing.assert_allclose(centred_map_em(EVIDENCE, weight=1).prior, em(EVIDENCE).prior, atol=1e-7)
    between = centred_map_em(EVIDENCE, weight=0.4)
    expected = 0.4 * mean_posterior(between.prior) + 0.6 * tilt(EVIDENCE).prior
    np.testing.assert_allclose(between.prior, expected, atol=1e-7)
    assert between.parameters["gamma"] == tilt(EVIDENCE).parameters["gamma"]
    assert between.parameters["weight"] == 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 0.5, "alpha": 2}, "a weight or alpha, not both"),
        ({"weight": 1.5}, r"weight must lie in 0 … 1, not 1.5"),
        ({"weight": float("nan")}, "weight must lie in"),
        ({"alpha": 0.5}, "alpha must be a number of at least 1"),
        ({"alpha": [2, 2]}, "alpha must be a number of at least 1, or 12 of them"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        map_em(EVIDENCE, **options)

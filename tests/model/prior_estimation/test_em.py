"""EM finds the likeliest prior: against simulations, other libraries and the conditions of a maximum."""

from __future__ import annotations

import numpy as np
import pytest

from model.prior_estimation import HeldOut, PriorEvidence, em
from model.prior_estimation.maximise import _extrapolated
from tests.model.prior_estimation.simulated import GaussianMixture, distance, long_tail, posteriors, uniform

optimize = pytest.importorskip("scipy.optimize")
special = pytest.importorskip("scipy.special")


def log_likelihood(prior: np.ndarray, logits: np.ndarray, home: np.ndarray) -> float:
    """Mean of log Σ π_c/home_c · p(c|x), written down anew."""
    return float(special.logsumexp(special.log_softmax(logits, axis=1) + np.log(prior / home), axis=1).mean())


@pytest.mark.parametrize(
    ("classes", "spread", "size", "draws"), [(10, 1.0, 400, 12), (100, 1.5, 2000, 4), (1000, 3.0, 3000, 1)]
)
def test_the_distance_from_the_truth_falls_with_the_root_of_the_number_of_images(classes, spread, size, draws):
    mixture = GaussianMixture(classes, spread=spread)
    truth = long_tail(classes)[::-1]
    near, far = (
        np.mean(
            [
                distance(
                    em(PriorEvidence(mixture.draw(truth, images, seed=draw).logits, uniform(classes))).prior, truth
                )
                for draw in range(draws)
            ]
        )
        for images in (4 * size, size)
    )
    assert far < 0.5
    assert 1.5 < far / near < 2.7  # √4, and chance


@pytest.mark.parametrize("home", [uniform(6), np.array([0.4, 0.2, 0.2, 0.1, 0.06, 0.04])])
def test_it_agrees_with_quapy(home):
    aggregative = pytest.importorskip("quapy.method.aggregative")
    mixture = GaussianMixture(6, spread=1.5)
    logits = mixture.draw(np.array([0.02, 0.08, 0.1, 0.2, 0.2, 0.4]), 1500, seed=0, home=home).logits
    expected, _ = aggregative.EMQ.EM(home, posteriors(logits), epsilon=1e-12)
    np.testing.assert_allclose(em(PriorEvidence(logits, home)).prior, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_of_two_classes_it_is_the_maximum_over_one_number(seed):
    home = np.array([0.7, 0.3])
    logits = GaussianMixture(2, spread=0.5).draw(np.array([0.35, 0.65]), 300, seed=seed, home=home).logits
    best = optimize.minimize_scalar(
        lambda share: -log_likelihood(np.array([share, 1 - share]), logits, home),
        bounds=(1e-9, 1 - 1e-9),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert em(PriorEvidence(logits, home)).prior[0] == pytest.approx(best.x, abs=1e-5)


@pytest.mark.parametrize("spread", [0.4, 1.0])
def test_acceleration_leads_where_plain_iterations_lead(spread):
    home = long_tail(5, 4)
    logits = GaussianMixture(5, spread=spread).draw(np.array([0.1, 0.3, 0.1, 0.3, 0.2]), 500, seed=3, home=home).logits
    source = posteriors(logits)
    prior = home
    for _ in range(20_000):
        weighted = source * prior / home
        prior = (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
    estimate = em(PriorEvidence(logits, home))
    np.testing.assert_allclose(estimate.prior, prior, atol=2e-6)
    assert estimate.converged
    assert estimate.iterations < 300


@pytest.mark.parametrize(
    ("classes", "size", "spread", "scale"), [(10, 300, 0.4, 1), (50, 200, 0.6, 1), (20, 800, 1, 3)]
)
def test_it_meets_the_conditions_of_a_maximum_on_the_simplex(classes, size, spread, scale):
    """Concave, with derivative mean_i p(c|x_i)/π_source(c) / mixture_i: 1 where a class is present, else at most 1.

    Scaled logits are posteriors that are not calibrated: the maximum is elsewhere, and as well defined.
    """
    logits = scale * GaussianMixture(classes, spread=spread).draw(long_tail(classes), size, seed=1).logits
    estimate = em(PriorEvidence(logits, uniform(classes)))
    ratios = posteriors(logits) * classes
    derivative = (ratios / (ratios @ estimate.prior)[:, np.newaxis]).mean(axis=0)
    assert derivative.max() < 1 + 1e-4
    np.testing.assert_allclose(derivative[estimate.prior > 1e-3], 1, atol=1e-4)


def test_the_likelihood_never_falls_and_is_the_sum_of_the_definition():
    home = long_tail(30, 10)
    logits = GaussianMixture(30, spread=0.5).draw(uniform(30), 400, seed=0, home=home).logits
    evidence = PriorEvidence(logits, home)
    estimate = em(evidence)
    assert np.diff(estimate.objectives).min() >= 0
    assert estimate.objectives[0] == pytest.approx(0, abs=1e-12)  # at the home prior
    assert estimate.objectives[-1] == pytest.approx(log_likelihood(estimate.prior, logits, home), abs=1e-7)
    assert evidence.image_log_likelihoods(estimate.prior).mean() == pytest.approx(estimate.objectives[-1], abs=1e-7)


def test_it_stops_when_told_to():
    logits = GaussianMixture(8, spread=0.3).draw(long_tail(8), 200, seed=0).logits
    evidence = PriorEvidence(logits, uniform(8))
    once = em(evidence, max_iterations=1)
    np.testing.assert_allclose(once.prior, posteriors(logits).mean(axis=0))
    assert (once.iterations, once.converged) == (1, False)
    assert em(evidence, max_iterations=20).iterations <= 20
    assert em(evidence, tolerance=1e-3).iterations < em(evidence).iterations


def test_where_a_predictor_is_at_home_does_not_matter_if_it_is_said():
    home = long_tail(10)
    mixture = GaussianMixture(10)
    truth = long_tail(10)[::-1]
    at_uniform = em(PriorEvidence(mixture.draw(truth, 500, seed=1).logits, uniform(10)))
    at_home = em(PriorEvidence(mixture.draw(truth, 500, seed=1, home=home).logits, 1000 * home))
    np.testing.assert_allclose(at_home.prior, at_uniform.prior, atol=1e-6)


def test_with_held_out_images_no_shift_is_a_fixed_point_even_if_uncalibrated():
    home = long_tail(6, 5)
    images = GaussianMixture(6, spread=0.7).draw(home, 400, seed=0, home=home)
    wrong = 2.5 * images.logits  # far too sure
    counts = np.bincount(images.labels)
    unaided = em(PriorEvidence(wrong, counts))
    aided = em(PriorEvidence(wrong, counts, held_out=HeldOut(wrong, images.labels)))
    np.testing.assert_allclose(aided.prior, posteriors(wrong).mean(axis=0), atol=1e-6)
    assert distance(aided.prior, home) < distance(unaided.prior, home)


def test_held_out_classes_count_by_the_home_prior_and_absent_ones_as_predicted_right():
    logits = np.log([[0.5, 0.3, 0.2], [0.7, 0.1, 0.2], [0.2, 0.6, 0.2]])
    evidence = PriorEvidence(logits, [0.5, 0.25, 0.25], held_out=HeldOut(logits, np.array([0, 0, 1])))
    expected = 0.5 * np.array([0.6, 0.2, 0.2]) + 0.25 * np.array([0.2, 0.6, 0.2]) + 0.25 * np.array([0, 0, 1])
    np.testing.assert_allclose(evidence.source_prior, expected)


def test_priors_too_small_to_be_inverted_leave_an_accelerated_step_finite():
    here, there, beyond = (np.array([[a, 1 - a, tiny]]) for a, tiny in ((0.5, 1e-300), (0.6, 1e-310), (0.65, 1e-315)))
    priors = _extrapolated(here, there, beyond)
    assert priors[0, 0] > 0.65
    assert priors.sum() == pytest.approx(1)

"""Banded EM: between EM and the tilt, the conditions of its maximum, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from model.prior_estimation import HeldOut, PriorEvidence, banded_em, em, tilt
from model.prior_estimation.evidence import UNKNOWN_ERROR
from model.prior_estimation.maximise import within_bands
from model.prior_estimation.tilt import tilted
from tests.model.prior_estimation.simulated import GaussianMixture, distance, long_tail, posteriors, uniform

CLASSES = 12
TRAINING = long_tail(CLASSES)
TRUTH = np.random.default_rng(5).dirichlet(np.full(CLASSES, 0.4))
LOGITS = GaussianMixture(CLASSES, spread=0.7).draw(TRUTH, 600, seed=2).logits
EVIDENCE = PriorEvidence(LOGITS, uniform(CLASSES), training_prior=TRAINING)


def test_without_a_band_it_is_em_and_with_a_wide_one_the_tilt():
    np.testing.assert_allclose(banded_em(EVIDENCE, band=0, deviations=0).prior, em(EVIDENCE).prior, atol=1e-6)
    np.testing.assert_allclose(banded_em(EVIDENCE, band=1000).prior, tilt(EVIDENCE).prior, atol=1e-9)


@pytest.mark.parametrize("band", [0.05, 0.2])
def test_off_the_tilt_ratios_are_at_the_end_of_the_band_and_on_it_within(band):
    estimate = banded_em(EVIDENCE, band=band, deviations=0)
    anchor = tilt(EVIDENCE).prior
    ratios = posteriors(LOGITS + np.log(np.maximum(estimate.prior, 1e-300))).mean(axis=0) / estimate.prior
    more, less = (estimate.prior > anchor * (1 + 1e-6)), (estimate.prior < anchor * (1 - 1e-6))
    assert more.any()
    assert less.any()
    level = ratios[more].mean() - band
    np.testing.assert_allclose(ratios[more], level + band, atol=1e-4)
    possible = less & (estimate.prior > 1e-6)
    np.testing.assert_allclose(ratios[possible], level - band, atol=1e-4)
    stays = ~more & ~less
    assert (np.abs(ratios[stays] - level) <= band + 1e-4).all()
    assert estimate.converged
    assert np.diff(estimate.objectives).min() >= 0


@pytest.mark.parametrize("seed", range(5))
def test_its_m_step_is_at_least_as_good_as_what_slsqp_finds_and_as_what_is_near(seed):
    random = np.random.default_rng(seed)
    posterior, anchor = random.dirichlet(np.ones(6), 2)
    band = random.uniform(0, 0.8, 6)

    def loss(values):  # the part above the anchor and the part below, so that there is no corner
        above, below = values[:6], values[6:]
        return band @ (above + below) - posterior @ np.log(np.maximum(anchor + above - below, 1e-12))

    bounds = [(0, 1)] * 6 + [(0, share) for share in anchor]
    constraint = {"type": "eq", "fun": lambda values: values[:6].sum() - values[6:].sum()}
    found = minimize(loss, np.full(12, 1e-3), bounds=bounds, constraints=constraint, options={"maxiter": 500})
    priors = within_bands(posterior[None], anchor[None], band[None])[0]
    assert loss(np.concatenate([np.maximum(priors - anchor, 0), np.maximum(anchor - priors, 0)])) <= found.fun + 1e-7
    for other in random.dirichlet(np.ones(6) * 2, 200):
        between = 0.99 * priors + 0.01 * other
        assert np.sum(posterior * np.log(between / priors)) <= band @ (
            np.abs(between - anchor) - np.abs(priors - anchor)
        )


def test_classes_without_a_sign_of_images_go_to_zero_where_the_band_allows_it():
    posterior, anchor = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(within_bands(posterior, anchor, np.full((1, 2), 0.4)), [[1, 0]], atol=1e-9)
    np.testing.assert_allclose(within_bands(posterior, anchor, np.full((1, 2), 1.5)), anchor, atol=1e-9)


@pytest.mark.parametrize("spread", [0.8, 1.2])
def test_posteriors_that_are_wrong_by_small_factors_mislead_em_and_not_this(spread):
    classes, size = 30, 6000
    mixture, training = GaussianMixture(classes, spread=spread), long_tail(classes)
    wrong = np.random.default_rng(3).normal(0, 0.25, classes)  # of the logits: factors of 0.6 to 1.6
    for gamma in (-1.0, 0.0):
        truth = tilted(training, np.array([gamma]))[0]
        evidence = PriorEvidence(mixture.draw(truth, size, seed=1).logits + wrong, uniform(classes), training)
        assert distance(banded_em(evidence).prior, truth) < 0.25 * distance(em(evidence).prior, truth)


@pytest.mark.parametrize("seed", range(3))
def test_priors_out_of_line_are_followed(seed):
    classes, size = 30, 6000
    mixture, training = GaussianMixture(classes, spread=1.2), long_tail(classes)
    wrong = np.random.default_rng(3).normal(0, 0.25, classes)
    truth = np.random.default_rng(seed).dirichlet(np.full(classes, 0.1))
    evidence = PriorEvidence(mixture.draw(truth, size, seed=1).logits + wrong, uniform(classes), training)
    assert distance(banded_em(evidence).prior, truth) < 0.6 * distance(tilt(evidence).prior, truth)


def test_held_out_images_of_a_class_narrow_its_band():
    held_out = GaussianMixture(CLASSES, spread=0.7).draw(uniform(CLASSES), 2000, seed=9)
    informed = PriorEvidence(LOGITS, uniform(CLASSES), TRAINING, held_out)
    few = PriorEvidence(LOGITS, uniform(CLASSES), TRAINING, HeldOut(held_out.logits[:100], held_out.labels[:100]))
    only_three = np.asarray(held_out.labels) == 3
    one_class = HeldOut(held_out.logits[only_three], held_out.labels[only_three])
    of_one = PriorEvidence(LOGITS, uniform(CLASSES), TRAINING, one_class).source_errors
    assert (EVIDENCE.source_errors == UNKNOWN_ERROR).all()
    assert informed.source_errors.max() < 0.15
    assert (few.source_errors > 4 * informed.source_errors).all()  # √20, and more where so few images tell little
    others = np.arange(CLASSES) != 3
    assert of_one[3] < 0.15
    assert (of_one[others] > 0.2).all()


def test_with_few_images_it_stays_nearer_to_the_tilt():
    mixture = GaussianMixture(CLASSES, spread=0.7)
    few, many = (
        PriorEvidence(mixture.draw(uniform(CLASSES), size, seed=3).logits, uniform(CLASSES), TRAINING)
        for size in (40, 4000)
    )
    assert distance(banded_em(few).prior, tilt(few).prior) < 0.3 * distance(em(few).prior, tilt(few).prior)
    assert distance(banded_em(many).prior, uniform(CLASSES)) < 0.1


@pytest.mark.parametrize("options", [{"band": -0.1}, {"deviations": float("nan")}, {"band": 2000}])
def test_bands_that_are_none(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must lie in 0 … 1000"):
        banded_em(EVIDENCE, **options)

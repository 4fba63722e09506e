"""The recommended estimate: nothing without evidence, the tilt where that explains the images, classes of their own."""

from __future__ import annotations

import numpy as np
import pytest

from model.prior_estimation import PriorEvidence, auto, banded_em, tilt
from model.prior_estimation.tilt import tilted
from tests.model.prior_estimation.simulated import GaussianMixture, distance, long_tail, uniform

CLASSES = 12
TRAINING = long_tail(CLASSES)
MIXTURE = GaussianMixture(CLASSES, spread=1.0)


def drawn(truth: np.ndarray, size: int, *, home: np.ndarray, training: np.ndarray | None = TRAINING) -> PriorEvidence:
    return PriorEvidence(MIXTURE.draw(truth, size, seed=2, home=home).logits, home, training)


@pytest.mark.parametrize("home", [uniform(CLASSES), TRAINING], ids=["uniform", "training"])
@pytest.mark.parametrize("size", [1, 30, 3000])
def test_images_as_the_predictor_is_at_home_on_correct_nothing(home, size):
    estimate = auto(drawn(home, size, home=home))
    assert np.isnan(estimate.parameters["gamma"])
    if size > 1:
        np.testing.assert_allclose(estimate.prior, home, rtol=1e-6)


def test_one_image_moves_a_class_and_does_not_decide_on_all():
    estimate = auto(drawn(np.eye(CLASSES)[4], 1, home=uniform(CLASSES)))
    assert 1 / CLASSES <= estimate.prior.max() < 0.5


@pytest.mark.parametrize("gamma", [-1.0, 0.6])
def test_a_power_of_the_training_prior_is_found_as_one(gamma):
    truth = tilted(TRAINING, np.array([gamma]))[0]
    estimate = auto(drawn(truth, 3000, home=uniform(CLASSES)))
    assert estimate.parameters["gamma"] == pytest.approx(gamma, abs=0.06)
    assert estimate.parameters["off_anchor"] < 0.02
    assert distance(estimate.prior, truth) < 0.1


@pytest.mark.parametrize("training", [TRAINING, None], ids=["counts known", "counts unknown"])
def test_classes_out_of_line_are_followed_with_and_without_training_counts(training):
    truth = uniform(CLASSES).copy()
    truth[[2, 7]] = 6 / CLASSES, 0.1 / CLASSES
    truth /= truth.sum()
    estimate = auto(drawn(truth, 3000, home=uniform(CLASSES), training=training))
    assert distance(estimate.prior, truth) < 0.7 * distance(uniform(CLASSES), truth)
    assert estimate.parameters["off_anchor"] > 0.1
    assert estimate.prior[2] == estimate.prior.max()
    assert estimate.prior[7] == estimate.prior.min()


def test_around_another_anchor_banded_em_needs_no_training_counts():
    evidence = drawn(uniform(CLASSES), 3000, home=uniform(CLASSES), training=None)
    estimate = banded_em(evidence, anchor=uniform(CLASSES))
    np.testing.assert_allclose(estimate.prior, uniform(CLASSES), rtol=1e-6)
    assert set(estimate.parameters) == {"off_anchor"}


def test_many_images_in_two_sets_at_once_are_as_one_after_the_other():
    evidence = drawn(tilted(TRAINING, np.array([-1.0]))[0], 400, home=uniform(CLASSES))
    weights = np.random.default_rng(0).integers(0, 3, (2, 400))
    together = auto(evidence, image_weights=weights)
    for row in range(2):
        np.testing.assert_allclose(together.prior[row], auto(evidence, image_weights=weights[row]).prior, atol=1e-6)
    assert together.parameters["gamma"].shape == (2,)
    assert abs(tilt(evidence).parameters["gamma"] - auto(evidence).parameters["gamma"]) < 1e-9

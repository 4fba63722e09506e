"""What a calibration brings on images that it was not fitted to."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from model.cross_fitting import cross_fitted, held_out_scores, stratified_folds
from model.posthoc_calibration import Calibrator, temperature_scaling
from model.priors import adjust_logits
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, posteriors, uniform

MIXTURE = GaussianMixture(4, spread=0.8, dimensions=5)
TAIL = long_tail(4, 10)


def test_folds_have_as_many_of_all_and_of_each_class_as_can_be() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [23, 11, 5, 1, 1]))
    fold = stratified_folds(labels)
    assert sorted(np.bincount(fold, minlength=5)) == [8, 8, 8, 8, 9]
    for label in range(5):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_each_image_is_calibrated_by_a_fit_to_the_other_folds() -> None:
    labels = np.random.default_rng(1).integers(3, size=40)
    logits = np.random.default_rng(2).normal(size=(40, 3))
    fold, seen = stratified_folds(labels), []

    def fit(values: np.ndarray, classes: np.ndarray, home: object) -> Calibrator:
        others = [number for number in range(5) if np.array_equal(values, logits[fold != number])]
        assert len(others) == 1
        assert np.array_equal(classes, labels[fold != others[0]])
        seen.append(others[0])
        return Calibrator(np.full(3, 1.0 + others[0]), np.zeros(3))

    corrected = cross_fitted(fit, logits, labels, uniform(3))
    assert sorted(seen) == list(range(5))
    calibrated = corrected - np.log(np.bincount(labels))
    np.testing.assert_allclose(np.ptp(calibrated, axis=1), np.ptp(logits, axis=1) * (1 + fold))


def own(logits: np.ndarray, labels: np.ndarray, home: np.ndarray) -> np.ndarray:
    return adjust_logits(logits, np.bincount(labels, minlength=len(home)), home_prior=home)


def test_scores_are_those_of_bayes_rule_under_the_images_own_frequencies() -> None:
    logits, labels = MIXTURE.draw(TAIL, 400, seed=0)
    frequencies = np.bincount(labels, minlength=4) / 400
    by_bayes = posteriors(logits) * frequencies
    by_bayes /= by_bayes.sum(axis=1, keepdims=True)
    scores = held_out_scores(own(logits, labels, uniform(4)), labels)
    assert scores.nll == pytest.approx(log_loss(labels, by_bayes), rel=1e-6)
    assert scores.accuracy == (by_bayes.argmax(axis=1) == labels).mean()
    elsewhere = held_out_scores(own(logits + np.log(TAIL), labels, TAIL), labels)
    assert elsewhere == pytest.approx(scores, rel=1e-6)


def test_what_was_sharpened_is_found_out_and_put_right() -> None:
    logits, labels = MIXTURE.draw(TAIL, 600, seed=1)
    before = held_out_scores(own(3 * logits, labels, uniform(4)), labels)
    after = held_out_scores(cross_fitted(temperature_scaling, 3 * logits, labels, uniform(4)), labels)
    right = held_out_scores(own(logits, labels, uniform(4)), labels)
    assert before.ece > 0.05
    assert after.ece < 0.5 * before.ece
    assert right.nll - 0.01 < after.nll < before.nll - 0.1


def test_one_image_is_too_few() -> None:
    with pytest.raises(ValueError, match="1 held-out images can't be fitted"):
        cross_fitted(temperature_scaling, np.zeros((1, 3)), np.zeros(1, int), uniform(3))

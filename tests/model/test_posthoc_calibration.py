"""Temperature, BCTS and vector scaling: against other optimisers, and on logits that were made wrong."""

from __future__ import annotations

import numpy as np
import pytest

from model.calibration import negative_log_likelihood
from model.posthoc_calibration import (
    BY_LIKELIHOOD,
    CALIBRATIONS,
    Calibrator,
    bias_corrected_temperature_scaling,
    temperature_scaling,
    vector_scaling,
)
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, uniform

optimize = pytest.importorskip("scipy.optimize")
special = pytest.importorskip("scipy.special")

CLASSES = 4
MIXTURE = GaussianMixture(CLASSES, spread=0.8, dimensions=5)
TAIL = long_tail(CLASSES, 10)
BIAS = np.array([0.6, -0.2, -0.5, 0.1])
NAMES = list(CALIBRATIONS)


def loss(logits: np.ndarray, labels: np.ndarray, home: np.ndarray) -> float:
    """Mean −log p of held-out labels, corrected to the held-out images' own frequencies."""
    frequencies = np.bincount(labels, minlength=len(home)) / len(labels)
    with np.errstate(divide="ignore"):
        log_p = special.log_softmax(logits + np.log(frequencies) - np.log(home), axis=1)
    return -float(log_p[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("home", [uniform(CLASSES), TAIL], ids=["uniform", "tail"])
@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_the_temperature_is_that_of_a_search_over_one_number(home, factor):
    logits, labels = MIXTURE.draw(TAIL, 400, seed=0, home=home)
    best = optimize.minimize_scalar(
        lambda log_t: loss(factor * logits / np.exp(log_t), labels, home), bounds=(-3, 3), method="bounded"
    )
    calibrator = temperature_scaling(factor * logits, labels, 100 * home, temperature_shrinkage=0)
    assert calibrator.temperature == pytest.approx(np.exp(best.x), rel=1e-3)
    assert calibrator.temperature == pytest.approx(factor, rel=0.2)
    np.testing.assert_array_equal(calibrator.bias, 0)
    assert np.ptp(calibrator.scale) == 0


@pytest.mark.parametrize("name", BY_LIKELIHOOD)
def test_without_shrinkage_it_is_the_minimum_that_another_optimiser_finds(name):
    logits, labels = MIXTURE.draw(uniform(CLASSES), 300, seed=1)
    wrong = special.log_softmax(2 * logits + BIAS, axis=1)
    free = {"ts": 1, "bcts": 1 + CLASSES, "vs": 2 * CLASSES}[name]

    def reference(values: np.ndarray) -> float:
        scale = np.exp(values[:1] if name != "vs" else values[CLASSES:])
        bias = {"ts": 0.0, "bcts": values[1:], "vs": values[:CLASSES]}[name]
        return loss(scale * wrong + bias, labels, uniform(CLASSES))

    best = optimize.minimize(reference, np.zeros(free), method="BFGS", options={"gtol": 1e-7})
    options = {"temperature_shrinkage": 0} | ({} if name == "ts" else {"shrinkage": 0})
    calibrator = CALIBRATIONS[name](wrong, labels, uniform(CLASSES), **options)
    assert loss(calibrator(wrong), labels, uniform(CLASSES)) == pytest.approx(best.fun, abs=1e-6)


@pytest.mark.parametrize("held_out", [uniform(CLASSES), TAIL, TAIL[::-1]], ids=["uniform", "tail", "inverse"])
@pytest.mark.parametrize("home", [uniform(CLASSES), TAIL], ids=["home uniform", "home tail"])
def test_what_was_made_wrong_is_put_right_wherever_held_out_images_and_predictor_are_at_home(held_out, home):
    logits, labels = MIXTURE.draw(held_out, 8000, seed=2, home=home)
    wrong = 2.5 * (logits - BIAS)  # z/T + b is right for T = 2.5
    calibrator = bias_corrected_temperature_scaling(wrong, labels, home, shrinkage=0)
    assert calibrator.temperature == pytest.approx(2.5, rel=0.1)
    np.testing.assert_allclose(calibrator.bias - calibrator.bias.mean(), BIAS - BIAS.mean(), atol=0.2)


def test_each_class_has_a_scale_of_its_own_in_vector_scaling():
    logits, labels = MIXTURE.draw(uniform(CLASSES), 20_000, seed=3)
    right = special.log_softmax(logits, axis=1)
    distorted = right / np.array([0.5, 1.0, 1.0, 2.0])
    calibrator = vector_scaling(distorted, labels, uniform(CLASSES), shrinkage=0)
    assert loss(calibrator(distorted), labels, uniform(CLASSES)) < loss(right, labels, uniform(CLASSES)) + 0.02
    assert loss(calibrator(distorted), labels, uniform(CLASSES)) < loss(distorted, labels, uniform(CLASSES)) - 0.01
    assert calibrator.scale.argmin() == 0
    assert calibrator.scale.argmax() == 3


@pytest.mark.parametrize("fit", [bias_corrected_temperature_scaling, vector_scaling])
def test_shrinkage_goes_to_one_temperature(fit):
    logits, labels = MIXTURE.draw(uniform(CLASSES), 200, seed=4)
    wrong = 2 * logits + BIAS
    sizes = []
    for shrinkage in (0, 3, 30):
        calibrator = fit(wrong, labels, uniform(CLASSES), shrinkage=shrinkage)
        sizes.append(np.linalg.norm(calibrator.bias - calibrator.bias.mean()))
    assert sizes == sorted(sizes, reverse=True)
    alone = temperature_scaling(wrong, labels, uniform(CLASSES))
    shrunk = fit(wrong, labels, uniform(CLASSES), shrinkage=1e7)
    np.testing.assert_allclose(shrunk.scale, alone.scale, rtol=1e-3)
    np.testing.assert_allclose(shrunk.bias, 0, atol=1e-3)


@pytest.mark.parametrize("strength", [0.5, 20])
def test_the_temperature_is_drawn_to_1_as_the_formula_has_it(strength):
    logits, labels = MIXTURE.draw(TAIL, 50, seed=9)
    best = optimize.minimize_scalar(
        lambda log_t: 50 * loss(3 * logits / np.exp(log_t), labels, uniform(CLASSES)) + strength / 2 * log_t**2,
        bounds=(-3, 3),
        method="bounded",
    )
    found = temperature_scaling(3 * logits, labels, uniform(CLASSES), temperature_shrinkage=strength)
    assert found.temperature == pytest.approx(np.exp(best.x), rel=1e-3)
    assert (
        found.temperature
        < 0.99 * temperature_scaling(3 * logits, labels, uniform(CLASSES), temperature_shrinkage=0).temperature
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_few_images_that_are_all_right_do_not_make_confidence_absolute(name):
    logits, labels = MIXTURE.draw(uniform(CLASSES), 60, seed=10)
    right = logits.argmax(axis=1) == labels
    assert 20 < right.sum() < 60
    calibrator = CALIBRATIONS[name](logits[right], labels[right], uniform(CLASSES))
    assert 0.2 < calibrator.temperature < 1
    assert (
        temperature_scaling(logits[right], labels[right], uniform(CLASSES), temperature_shrinkage=0).temperature < 0.1
    )


def test_with_a_few_images_a_class_shrinkage_is_better_on_others():
    classes = 20
    mixture = GaussianMixture(classes, spread=0.8)
    fresh = mixture.draw(uniform(classes), 3000, seed=99)
    gains = []
    for draw in range(5):
        few = mixture.draw(uniform(classes), 60, seed=draw)
        shrunk, plain = (
            bias_corrected_temperature_scaling(few.logits, few.labels, uniform(classes), shrinkage=shrinkage)
            for shrinkage in (10, 0)
        )
        gains.append(
            negative_log_likelihood(plain(fresh.logits), fresh.labels)
            - negative_log_likelihood(shrunk(fresh.logits), fresh.labels)
        )
    assert min(gains) > 0


@pytest.mark.parametrize("name", NAMES)
def test_it_is_better_than_nothing_and_keeps_the_floating_type(name):
    logits, labels = MIXTURE.draw(uniform(CLASSES), 1000, seed=5)
    wrong = (4 * logits + BIAS).astype(np.float32)
    calibrator = CALIBRATIONS[name](wrong, labels, uniform(CLASSES))
    fresh, fresh_labels = MIXTURE.draw(uniform(CLASSES), 1000, seed=6)
    wrong_fresh = (4 * fresh + BIAS).astype(np.float32)
    calibrated = calibrator(wrong_fresh)
    assert calibrated.dtype == np.float32
    assert negative_log_likelihood(calibrated, fresh_labels) < 0.8 * negative_log_likelihood(wrong_fresh, fresh_labels)
    if name == "ts":
        np.testing.assert_array_equal(calibrated.argmax(axis=1), wrong_fresh.argmax(axis=1))


@pytest.mark.parametrize("name", NAMES)
def test_names_of_classes_order_of_images_and_constants_of_an_image_do_not_matter(name):
    logits, labels = MIXTURE.draw(TAIL, 300, seed=7)
    expected = CALIBRATIONS[name](logits, labels, TAIL)
    new = np.array([2, 0, 3, 1])
    old = np.argsort(new)
    order = np.random.default_rng(0).permutation(300)
    constants = np.linspace(-30, 30, 300)[:, np.newaxis]
    found = CALIBRATIONS[name]((logits + constants)[order][:, old], new[labels][order], TAIL[old])
    np.testing.assert_allclose(found.scale[new], expected.scale, rtol=1e-3)
    np.testing.assert_allclose(found.bias[new], expected.bias, atol=1e-3)
    assert found.sharpening == pytest.approx(expected.sharpening, abs=1e-3)
    shifted = special.log_softmax(expected(logits + constants), axis=1)
    np.testing.assert_allclose(shifted, special.log_softmax(expected(logits), axis=1), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("present", [[0], [0, 2], [1, 2, 3]])
def test_classes_without_held_out_images_keep_their_bias(name, present):
    logits, labels = MIXTURE.draw(uniform(CLASSES), 400, seed=8)
    seen = np.isin(labels, present)
    calibrator = CALIBRATIONS[name](logits[seen], labels[seen], uniform(CLASSES))
    absent = np.setdiff1d(np.arange(CLASSES), present)
    np.testing.assert_allclose(calibrator.bias[absent], 0, atol=1e-9)
    assert np.isfinite(calibrator.scale).all()
    assert (calibrator.scale > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_one_image_and_perfect_predictions_have_a_calibration(name):
    for size in (1, 40):
        labels = np.arange(size) % CLASSES
        calibrator = CALIBRATIONS[name](5 * np.eye(CLASSES)[labels], labels, uniform(CLASSES))
        assert np.isfinite(calibrator(5 * np.eye(CLASSES))).all()
        assert 0.0099 < calibrator.temperature < 100.1


def test_a_calibration_by_hand():
    logits = np.log([[0.5, 0.25, 0.25]])
    calibrated = Calibrator(np.array([2.0, 2.0, 1.0]), np.array([0.0, np.log(4), 0.0]))(logits + 3)
    np.testing.assert_allclose(np.exp(calibrated), [[0.25, 0.25, 0.25]])


@pytest.mark.parametrize(
    ("logits", "labels", "home", "message"),
    [
        (np.zeros((3, 2)), [0, 1], [1, 1], r"held-out labels need the shape \[3\]"),
        (np.zeros((2, 2)), [0, 2], [1, 1], "held-out labels must be class indices, 0 … 1"),
        (np.zeros((2, 2)), [0, 1], [1, 1, 1], r"home_prior needs the shape \[2\]"),
        (np.array([[0, -np.inf]]), [0], [1, 1], "held-out logits must be finite"),
        (np.zeros((0, 2)), [], [1, 1], "held-out logits need the shape"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_mistakes(name, logits, labels, home, message):
    with pytest.raises(ValueError, match=message):
        CALIBRATIONS[name](logits, labels, home)


@pytest.mark.parametrize("shrinkage", [-1, float("nan"), float("inf")])
def test_a_shrinkage_is_a_number_from_zero_up(shrinkage):
    for name in ("shrinkage", "temperature_shrinkage"):
        with pytest.raises(ValueError, match="shrinkage must be at least 0"):
            vector_scaling(np.zeros((2, 2)), [0, 1], [1, 1], **{name: shrinkage})


def test_logits_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="logits have 3 classes and the calibration 2"):
        Calibrator(np.ones(2), np.zeros(2))(np.zeros((1, 3)))

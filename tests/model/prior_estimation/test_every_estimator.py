"""What is true of each estimator in the registry."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import model.prior_estimation
from model.prior_estimation import ESTIMATORS, HeldOut, PriorEvidence
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, uniform

NAMES = list(ESTIMATORS)
CLASSES, SIZE = 6, 240
MIXTURE = GaussianMixture(CLASSES, spread=0.9)
TRAINING = long_tail(CLASSES, 20)
HOME = long_tail(CLASSES, 3)
TEST = MIXTURE.draw(np.array([0.1, 0.1, 0.3, 0.1, 0.2, 0.2]), SIZE, seed=0, home=HOME).logits
HELD_OUT = MIXTURE.draw(uniform(CLASSES), 400, seed=1, home=HOME)


def evidence(
    logits: np.ndarray = TEST,
    home: np.ndarray = HOME,
    training: np.ndarray = TRAINING,
    held_out: HeldOut = HELD_OUT,
) -> PriorEvidence:
    return PriorEvidence(logits, home, training, held_out)


def is_prior(prior: np.ndarray, classes: int = CLASSES) -> bool:
    return prior.shape == (classes,) and prior.dtype == np.float64 and prior.min() >= 0 and abs(prior.sum() - 1) < 1e-9


def test_there_are_eight():
    assert set(NAMES) == {"auto", "em", "map_em", "centred_map_em", "banded_em", "tilt", "bbse", "rlls"}


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_evidence_and_options_and_returns_a_prior(name):
    first, *others = inspect.signature(ESTIMATORS[name]).parameters.values()
    assert first.name == "evidence"
    assert "image_weights" in [parameter.name for parameter in others]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)
    assert all(parameter.default is not parameter.empty for parameter in others)
    estimate = ESTIMATORS[name](evidence())
    assert is_prior(estimate.prior)
    assert estimate.converged
    assert all(type(value) is float for value in estimate.parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_images_nor_a_shift_of_logits_matters(name):
    expected = ESTIMATORS[name](evidence()).prior
    order, other_order = np.random.default_rng(0).permutation(SIZE), np.random.default_rng(1).permutation(400)
    shuffled = HeldOut(HELD_OUT.logits[other_order] + 7, HELD_OUT.labels[other_order])
    shifted = TEST[order] + np.linspace(-50, 50, SIZE)[:, np.newaxis]
    np.testing.assert_allclose(ESTIMATORS[name](evidence(shifted, held_out=shuffled)).prior, expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_classes_do_not_matter(name):
    new = np.array([3, 0, 5, 1, 2, 4])  # class c is called new[c]
    old = np.argsort(new)
    renamed = HeldOut(HELD_OUT.logits[:, old], new[HELD_OUT.labels])
    estimate = ESTIMATORS[name](evidence(TEST[:, old], HOME[old], TRAINING[old], renamed))
    np.testing.assert_allclose(estimate.prior[new], ESTIMATORS[name](evidence()).prior, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_images_that_count_twice_are_images_that_are_there_twice(name):
    times = np.random.default_rng(0).integers(0, 3, SIZE)
    weighted = ESTIMATORS[name](evidence(), image_weights=times).prior
    np.testing.assert_allclose(weighted, ESTIMATORS[name](evidence(np.repeat(TEST, times, axis=0))).prior, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_weightings_side_by_side_are_weightings_one_by_one(name):
    weights = np.random.default_rng(0).integers(0, 3, (4, SIZE))
    together = ESTIMATORS[name](evidence(), image_weights=weights)
    alone = [ESTIMATORS[name](evidence(), image_weights=row) for row in weights]
    np.testing.assert_allclose(together.prior, np.stack([estimate.prior for estimate in alone]), atol=1e-6)
    for parameter, values in together.parameters.items():
        np.testing.assert_allclose(values, [estimate.parameters[parameter] for estimate in alone], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_it_takes_any_floating_type_and_arrays_that_can_not_be_written(name, dtype):
    logits = TEST.astype(dtype)
    logits.flags.writeable = False
    expected = ESTIMATORS[name](evidence(logits.astype(np.float64))).prior
    np.testing.assert_allclose(ESTIMATORS[name](evidence(logits)).prior, expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_huge_logits_neither_overflow_nor_vanish(name):
    assert is_prior(
        ESTIMATORS[name](evidence(1e4 * TEST, held_out=HeldOut(1e4 * HELD_OUT.logits, HELD_OUT.labels))).prior
    )


# -- degenerate cases -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_of_one_class_the_prior_is_one(name):
    one = evidence(np.zeros((5, 1)), np.ones(1), np.ones(1), HeldOut(np.zeros((2, 1)), np.zeros(2, int)))
    np.testing.assert_allclose(ESTIMATORS[name](one).prior, [1])


@pytest.mark.parametrize("name", NAMES)
def test_of_one_image_there_is_an_estimate(name):
    assert is_prior(ESTIMATORS[name](evidence(TEST[:1])).prior)


@pytest.mark.parametrize("name", ["em", "bbse", "rlls"])
def test_images_of_one_class_alone_have_its_prior(name):
    sure = HeldOut(30 * np.eye(CLASSES), np.arange(CLASSES))
    alone = evidence(30 * np.eye(CLASSES)[np.full(100, 4)], uniform(CLASSES), held_out=sure)
    prior = ESTIMATORS[name](alone).prior
    assert prior.argmax() == 4
    assert name == "rlls" or prior[4] > 0.999


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_the_home_prior_rules_out_leaves_the_others_their_shares(name):
    home = np.append(HOME[:-1], 0)
    without = HELD_OUT.labels != CLASSES - 1
    held_out = HeldOut(HELD_OUT.logits[without], HELD_OUT.labels[without])
    with np.errstate(divide="ignore"):
        logits = MIXTURE.draw(np.append(uniform(5), 0), 300, seed=3, home=home).logits
    prior = ESTIMATORS[name](evidence(logits, home, held_out=held_out)).prior
    assert is_prior(prior)
    assert prior[-1] < 0.2
    assert prior[:-1].min() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_zero_are_allowed(name):
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(CLASSES)[np.arange(60) % 3])
    assert is_prior(ESTIMATORS[name](evidence(certain)).prior)
    np.testing.assert_allclose(ESTIMATORS["em"](PriorEvidence(certain, HOME)).prior, [1 / 3] * 3 + [0] * 3, atol=1e-7)


# -- mistakes -------------------------------------------------------------------------------------------------------

NAN = np.where(np.arange(CLASSES) == 2, np.nan, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logits": TEST[0]}, r"logits need the shape \[N, C\]"),
        ({"logits": TEST[:0]}, r"logits need the shape \[N, C\] with N ≥ 1"),
        ({"logits": TEST[np.newaxis]}, "logits need the shape"),
        ({"logits": TEST + NAN}, "logits hold nan or"),
        ({"logits": TEST + np.inf}, "logits hold nan or"),
        ({"logits": TEST - np.inf}, "or a row of −∞ alone"),
        ({"logits": TEST.astype(complex)}, "logits must be real numbers, not complex128"),
        ({"logits": TEST.astype(str)}, "logits must be real numbers"),
        ({"home": HOME[:-1]}, r"home_prior needs the shape \[6\], one number for each class, not \[5\]"),
        ({"home": HOME + NAN}, "home_prior must be finite, at least 0 and not all 0"),
        ({"home": HOME - 0.2}, "home_prior must be finite, at least 0"),
        ({"home": 0 * HOME}, "home_prior must be .* not all 0"),
        ({"training": TRAINING[:, np.newaxis]}, "training_prior needs the shape"),
        ({"training": -TRAINING}, "training_prior must be"),
        ({"held_out": HeldOut(TEST[:, :5], np.zeros(SIZE, int))}, "held-out logits have 5 classes, logits 6"),
        ({"held_out": HeldOut(TEST, np.zeros(3, int))}, r"held-out labels need the shape \[240\]"),
        ({"held_out": HeldOut(TEST, np.full(SIZE, 6))}, "held-out labels must be class indices, 0 … 5"),
        ({"held_out": HeldOut(TEST, np.zeros(SIZE))}, "held-out labels must be class indices"),
        ({"held_out": HeldOut(TEST[:0], np.zeros(0, int))}, "held-out logits need the shape"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        evidence(**arguments)
    assert "\n" not in str(caught.value)


def test_an_image_that_nothing_explains_is_a_mistake():
    with np.errstate(divide="ignore"):
        logits = np.log([[0.0, 1.0], [0.5, 0.5]])
    with pytest.raises(ValueError, match="no probability on any class whose home_prior is above 0"):
        PriorEvidence(logits, [1, 0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"image_weights need the shape \[240\] or \[R, 240\], not \[1, 3\]"),
        (np.zeros(SIZE), "not all 0"),
        (-np.ones(SIZE), "at least 0"),
        (np.full(SIZE, np.nan), "finite"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_mistakes_in_weights(name, weights, message):
    with pytest.raises(ValueError, match=message):
        ESTIMATORS[name](evidence(), image_weights=weights)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("tilt", "training_prior"),
        ("centred_map_em", "training_prior"),
        ("banded_em", "training_prior"),
        ("bbse", "held_out"),
        ("rlls", "held_out"),
    ],
)
def test_what_it_needs_is_asked_for(name, missing):
    with pytest.raises(ValueError, match=f"needs {missing}"):
        ESTIMATORS[name](PriorEvidence(TEST, HOME))


@pytest.mark.parametrize("name", ["em", "map_em", "centred_map_em", "banded_em", "auto"])
@pytest.mark.parametrize("options", [{"tolerance": 0}, {"tolerance": float("nan")}, {"max_iterations": 0}])
def test_stopping_rules_that_are_none(name, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        ESTIMATORS[name](evidence(), **options)


def test_the_example_of_the_package_works():
    lines = [line.strip() for line in model.prior_estimation.__doc__.splitlines() if line.startswith("    ")]
    names = {**vars(model.prior_estimation), "np": np, "logits": TEST, "home_prior": HOME}
    exec("\n".join(lines), names)
    assert names["corrected"].shape == TEST.shape
    assert (names["interval"].low <= names["interval"].high).all()


def test_it_is_used_without_pytorch():
    code = "import sys, model.prior_estimation; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0

"""Anybody's predictions as arrays: an independent library's metrics, and Bayes' rule without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from trainer.evaluation.priors import PRIORS
from trainer.evaluation.scoring import correct, score
from utils.errors import UserError

HOME = np.array([16, 4, 1]) / 21
TEST = HOME[::-1]


def drawn(prior: np.ndarray, images: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors [N, 3] that are right under HOME, of images whose classes are distributed otherwise; labels [N]."""
    random = np.random.default_rng(3)
    labels = random.choice(3, size=images, p=prior)
    positions = random.normal(1.5 * labels)
    joint = HOME * np.exp(-((positions[:, None] - 1.5 * np.arange(3)) ** 2) / 2)
    return joint / joint.sum(axis=1, keepdims=True), labels


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's probabilities of test digits, their labels, and the training counts."""
    images, labels = load_digits(return_X_y=True)
    classifier = LogisticRegression(max_iter=200).fit(images[:300], labels[:300])
    return classifier.predict_proba(images[300:]), labels[300:], np.bincount(labels[:300])


def test_a_classifier_of_another_library_gets_that_librarys_metrics(digits: tuple[np.ndarray, ...]) -> None:
    probabilities, labels, counts = digits
    (row,) = score(probabilities, labels, kind="probabilities", home="train", training_counts=counts)
    predictions = probabilities.argmax(axis=1)
    assert row["accuracy"] == pytest.approx(accuracy_score(labels, predictions), abs=1e-12)
    assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predictions), abs=1e-12)
    assert row["macro_f1"] == pytest.approx(f1_score(labels, predictions, average="macro"), abs=1e-12)
    assert row["nll"] == pytest.approx(log_loss(labels, probabilities), rel=1e-9)
    assert row["brier"] == pytest.approx(((probabilities - np.eye(10)[labels]) ** 2).sum(axis=1).mean(), rel=1e-9)
    assert (row["medium"], row["many"], row["home"]) == (row["balanced_accuracy"], None, "training")


def test_log_probabilities_are_logits(digits: tuple[np.ndarray, ...]) -> None:
    probabilities, labels, _ = digits
    (one,) = score(probabilities, labels, kind="probabilities", home="uniform")
    (other,) = score(np.log(probabilities) + 3, labels, kind="logits", home="uniform")
    assert one["nll"] == pytest.approx(other["nll"], rel=1e-9)
    assert one["accuracy"] == other["accuracy"]


def test_without_training_counts_there_are_no_groups_and_no_ladder(digits: tuple[np.ndarray, ...]) -> None:
    given: dict[str, Any] = {"kind": "probabilities", "home": "uniform"}
    probabilities, labels, _ = digits
    (row,) = score(probabilities, labels, **given)
    assert (row["many"], row["medium"], row["few"]) == (None, None, None)
    names = ["uniform", "shuffled5-1", "dirichlet1-1"]
    assert [row["distribution"] for row in score(probabilities, labels, distributions=names, **given)] == names
    with pytest.raises(UserError, match=r"'forward5': it follows the training frequencies.*--train-counts"):
        score(probabilities, labels, distributions=["forward5"], **given)
    with pytest.raises(ValueError, match="tilt needs training_prior"):
        score(probabilities, labels, prior="tilt", **given)


def test_classes_that_the_test_lacks_are_counted_all_the_same() -> None:
    """Three classes, the last without test images: it is neither uniform nor of two classes."""
    (row,) = score(np.log([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]]), [0, 1], kind="logits", home="uniform")
    assert row["per_class_images"] == [1, 1, 0]
    assert row["distribution"] == "as split"


def test_experts_of_their_own_homes_stand_beside_the_ensemble() -> None:
    posteriors, labels = drawn(TEST)
    experts = np.stack([np.log(posteriors), np.log(posteriors) + np.log(TEST) - np.log(HOME)], axis=1)
    given: dict[str, Any] = {"kind": "logits", "prior": "known"}
    rows = score(experts, labels, home=np.stack([HOME, TEST]), **given)
    assert [row["predictor"] for row in rows] == ["ensemble", "expert 0", "expert 1"]
    nll = [row["nll"] for row in rows]  # each is corrected to the same posteriors
    assert nll == pytest.approx([nll[0]] * 3, rel=1e-6)
    assert [row["predictor"] for row in score(experts, labels, home=HOME, **given)] == ["ensemble"]


@pytest.mark.parametrize("prior", ["em", "tilt"])
def test_without_labels_the_estimate_and_what_follows_from_it(prior: str) -> None:
    posteriors, labels = drawn(TEST)
    counts = [1600, 400, 100]
    found = correct(posteriors, kind="probabilities", home="train", prior=prior, training_counts=counts)
    assert found.found is not None
    assert found.found.interval is not None
    (low, high), estimate = found.found.interval, found.found.prior
    assert np.abs(estimate - TEST).sum() < 0.15
    assert (low <= estimate).all()
    assert (estimate <= high).all()
    by_bayes = (posteriors * estimate / HOME).argmax(axis=1)
    assert np.array_equal(found.logits.argmax(axis=1), by_bayes)
    assert (found.logits.argmax(axis=1) == labels).mean() > (found.uncorrected.argmax(axis=1) == labels).mean() + 0.1
    scored = score(posteriors, labels, kind="probabilities", home="train", prior=prior, training_counts=counts)
    assert scored[0]["test_prior"] == estimate.tolist()


def test_the_known_prior_needs_labels() -> None:
    with pytest.raises(ValueError, match="labels"):
        correct(np.eye(3), kind="probabilities", home="uniform", prior="known")


def test_an_entry_of_ones_own_will_do() -> None:
    posteriors, labels = drawn(TEST, 500)
    (row,) = score(posteriors, labels, kind="probabilities", home=HOME, prior=PRIORS["known"], class_names=list("abc"))
    assert row["prior"] == "known"


# -- held-out images --------------------------------------------------------------------------------------------------


def halves(prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Logits three times too large of 2,000 test images, their labels, and the same of held-out images along HOME."""
    posteriors, labels = drawn(prior, 2000)
    held_out, held_out_labels = drawn(HOME, 1000)
    return 3 * np.log(posteriors), labels, (3 * np.log(held_out), held_out_labels)


@pytest.mark.parametrize("method", ["ts", "bcts", "vs"])
def test_a_calibration_is_fitted_to_held_out_images(method: str) -> None:
    logits, labels, held_out = halves(TEST)
    given: dict[str, Any] = {"kind": "logits", "home": HOME, "prior": "known", "held_out": held_out}
    (plain,) = score(logits, labels, **given)
    (row,) = score(logits, labels, calibration=method, **given)
    (right,) = score(logits / 3, labels, **given)
    assert (plain["calibration"], row["calibration"]) == ("none", f"fitted: {method}")
    assert row["ece_before"] == plain["ece"] > 2 * row["ece"]
    assert row["nll"] == pytest.approx(right["nll"], abs=0.03)


@pytest.mark.parametrize("prior", ["em", "bbse"])
def test_held_out_images_serve_estimators_and_correction_too(prior: str) -> None:
    logits, labels, held_out = halves(TEST)
    given: dict[str, Any] = {"kind": "logits", "home": HOME, "prior": prior, "held_out": held_out}
    (row,) = score(logits, labels, calibration="ts", **given)
    if prior == "em":
        assert row["prior_l1"] < 0.2 < score(logits, labels, **given | {"held_out": None})[0]["prior_l1"]
    found = correct(logits, calibration="ts", **given)
    assert found.found is not None
    assert found.found.prior.tolist() == row["test_prior"]
    assert (found.logits.argmax(axis=1) == labels).mean() == row["accuracy"]
    np.testing.assert_array_equal(found.uncorrected, logits)


def test_mistakes_of_held_out_images() -> None:
    logits, labels, (others, their_labels) = halves(TEST)
    given: dict[str, Any] = {"kind": "logits", "home": HOME}
    with pytest.raises(ValueError, match="the calibration ts is fitted to labelled held-out images; there are none"):
        score(logits, labels, calibration="ts", **given)
    with pytest.raises(ValueError, match="held-out images have 1 experts and 2 classes, the test images 1"):
        score(logits, labels, held_out=(others[:, :2], their_labels % 2), **given)
    with pytest.raises(ValueError, match="999 labels for 1000 images"):
        score(logits, labels, held_out=(others, their_labels[1:]), **given)

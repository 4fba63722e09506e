"""Arrays that anybody gives: what is taken for logits, labels, counts and home priors, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from model.calibration import softmax
from trainer.evaluation.given_arrays import (
    as_class_counts,
    as_home_priors,
    as_labels,
    as_logits,
    look_like_probabilities,
)

SHAPE = (4, 2, 3)
LOGITS = np.random.default_rng(0).normal(size=SHAPE)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), (np.longdouble, "f8"), (">f8", "f8"), ("i8", "f8"), ("u1", "f8")],
)
def test_logits_stay_as_they_are(given: Any, kept: str) -> None:
    values = (100 * np.abs(LOGITS)).astype(given)
    found = as_logits(values, "logits")
    assert found.dtype == np.dtype(kept)
    assert np.array_equal(found, values)
    assert np.array_equal(as_logits(values[:, 0], "logits"), values[:, :1])


def test_probabilities_are_those_of_their_logarithms_and_zeros_are_finite() -> None:
    probabilities = softmax(LOGITS)
    assert softmax(as_logits(probabilities, "probabilities")) == pytest.approx(probabilities, rel=1e-12)
    certain = as_logits(np.eye(3), "probabilities")[:, 0]
    assert np.array_equal(certain.argmax(axis=1), [0, 1, 2])
    assert np.allclose(softmax(certain), np.eye(3), atol=1e-11)
    assert certain.min() == np.log(1e-12)


def test_rounded_probabilities_are_taken() -> None:
    as_logits(np.array([[0.3333, 0.3333, 0.3333]]), "probabilities")
    as_logits(softmax(LOGITS).astype(np.float16), "probabilities")


@pytest.mark.parametrize(
    ("outputs", "kind", "told"),
    [
        (np.zeros(3), "logits", "not [3]"),
        (np.zeros((2, 2, 2, 2)), "logits", "expected the shape [images, classes] or [images, experts, classes]"),
        (np.zeros((0, 3)), "logits", "not the shape [0, 3]"),
        (np.zeros((3, 1)), "logits", "an image and two classes at least"),
        (np.array([["a", "b"]]), "logits", "expected numbers, not text"),
        (np.array([[True, False]]), "logits", "expected numbers, not bool"),
        (np.array([[0, 1], [0, np.nan]]), "logits", "image 1 (counted from 0): nan is no finite number"),
        (np.array([[0, -np.inf]]), "logits", "image 0 (counted from 0): -inf is no finite number"),
        (np.array([[0.5, 0.5], [1.5, -0.5]]), "probabilities", "image 1 (counted from 0): -0.5 is no probability"),
        (np.array([[0.5, 0.5], [0.5, 0.502]]), "probabilities", "image 1 (counted from 0): 1.002 is the sum"),
        (np.array([[np.nan, 1]]), "probabilities", "nan is no finite number"),
        (
            np.array([[0, 3e38]], "f4"),
            "logits",
            "image 0 (counted from 0): 3e+38 is too large; logits lie within ±1e+30",
        ),
        (np.eye(2), "probability", "kind is 'probability': give 'logits' or 'probabilities'"),
    ],
)
def test_what_is_neither_logits_nor_probabilities(outputs: np.ndarray, kind: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        as_logits(outputs, kind)
    assert "\n" not in str(refused.value)


def test_logits_that_could_be_probabilities_are_seen() -> None:
    assert look_like_probabilities(softmax(LOGITS))
    assert not look_like_probabilities(LOGITS)
    assert not look_like_probabilities(np.abs(LOGITS))


@pytest.mark.parametrize("labels", [[0, 2, 1, 0], np.array([0.0, 2.0, 1.0, 0.0]), np.array([[0], [2], [1], [0]], "u1")])
def test_labels_are_whole_numbers_of_any_type(labels: Any) -> None:
    found = as_labels(labels, SHAPE)
    assert found.dtype == np.int64
    assert found.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([0, 1, 2], "3 labels for 4 images"),
        (np.eye(4), "expected one label an image, the shape [4], not [4, 4]"),
        ([0, 1, 3, -1], "image 2 (counted from 0): 3 is no class; the labels are 0 … 2"),
        ([0, 1, 2, -1], "-1 is no class"),
        ([0, 1, 1.5, 1], "1.5 is no class"),
        ([0, 1, 1, np.nan], "nan is no class"),
        (["a", "b", "c", "d"], "expected class indices, not text"),
    ],
)
def test_labels_that_are_none(labels: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        as_labels(labels, SHAPE)


def test_class_counts() -> None:
    assert as_class_counts(None, 3) is None
    assert as_class_counts(np.array([5.0, 0.0, 2.0]), 3) == [5, 0, 2]
    for wrong in ([1, 2], [1, 2, -1], [1, 2, 0.5], [1, 2, np.inf], [0, 0, 0], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="training counts"):
            as_class_counts(wrong, 3)


def test_home_priors() -> None:
    assert as_home_priors("uniform", SHAPE, None) == pytest.approx(np.full((1, 3), 1 / 3))
    assert as_home_priors("train", SHAPE, [6, 3, 1]) == pytest.approx(np.array([[0.6, 0.3, 0.1]]))
    assert as_home_priors([2, 1, 1], SHAPE, None) == pytest.approx(np.array([[0.5, 0.25, 0.25]]))
    each = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    assert as_home_priors(each, SHAPE, None) == pytest.approx(each)


@pytest.mark.parametrize(
    ("home", "told"),
    [
        ("balanced", "home is 'balanced': give 'uniform', 'train' or an array"),
        ("train", "their counts are not known"),
        (np.ones((3, 3)), "3 home priors for 2 experts"),
        ([0.5, 0.5], "needs the shape [3]"),
        ([1, 1, -1], "at least 0"),
    ],
)
def test_home_priors_that_are_none(home: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        as_home_priors(home, SHAPE, None)

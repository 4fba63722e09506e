"""Diagrams of reliability by groups and distributions: those of the results, and words where images don't allow one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from data_loader.loader import ListedImages
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import TestSplit, select
from trainer.evaluation.protocol import evaluate
from trainer.report.data import RunClasses
from trainer.report.files import KeptPredictions
from trainer.report.reliability import reliability_of
from utils.errors import UserError

NAMES = ["a", "b", "c"]
COUNTS = [200, 50, 5]


def answers(*sizes: int) -> KeptPredictions:
    """As many images of each class: every third is taken for the first class, all with the same confidence."""
    targets = np.repeat(np.arange(len(sizes)), sizes)
    predicted = np.where(np.arange(len(targets)) % 3 == 0, 0, targets)
    return KeptPredictions(targets, targets[:0], predicted, np.full(len(targets), 0.75), len(sizes))


def test_the_diagrams_have_the_calibration_errors_that_a_sweep_finds_for_their_images() -> None:
    random, targets = np.random.default_rng(3), np.repeat(np.arange(3), 60)
    logits = random.normal(size=(180, 2, 3)).astype(np.float32)
    logits[np.arange(180), :, targets] += 1
    names = ["forward20", "uniform", "backward10"]
    found = evaluate(
        logits,
        targets,
        COUNTS,
        distributions=select(names, TestSplit(targets, COUNTS)),
        predictors=predictors(["mean"], 2),
    )
    ensemble = logits.mean(axis=1)
    shares = np.exp(ensemble) / np.exp(ensemble).sum(axis=1, keepdims=True)
    kept = KeptPredictions(targets, targets[:0], ensemble.argmax(axis=1), shares.max(axis=1), 3)
    rows = [{"protocol": "shifts", "distribution": name} for name in ("forward5", "uniform = forward1", *names)]
    diagrams, remarks = reliability_of(kept, RunClasses(NAMES, COUNTS), rows)
    assert remarks == []
    shown = {each.title: each for each in diagrams}
    titles = ["all test images", "many classes", "medium classes", "few classes", "forward20", "backward10"]
    assert list(shown) == titles
    for row in found:
        title = {"uniform": "all test images"}.get(row["distribution"], row["distribution"])
        assert (shown[title].images, shown[title].accuracy) == (row["images"], pytest.approx(row["accuracy"]))
        assert shown[title].ece == pytest.approx(row["ece"], abs=1e-6)
    assert [shown[title].images for title in titles[1:4]] == [60, 60, 60]


def test_accuracy_confidence_and_error_of_a_diagram_are_those_of_its_images() -> None:
    """Of the second class's six images two are taken for the first: |⅔ − ¾| = 1/12."""
    diagrams, _ = reliability_of(answers(6, 6, 6), RunClasses(NAMES, COUNTS), [])
    medium = diagrams[2]
    assert (medium.title, medium.images) == ("medium classes", 6)
    assert (medium.accuracy, medium.confidence, medium.ece) == pytest.approx((2 / 3, 0.75, 1 / 12))


def test_what_the_test_images_do_not_allow_is_said_and_the_rest_is_shown() -> None:
    diagrams, remarks = reliability_of(answers(12, 4, 1), RunClasses(NAMES, [42, 17, 1]), [])
    assert [each.title for each in diagrams] == ["all test images", "medium classes", "few classes", "uniform"]
    many, forward, backward = remarks
    assert many == "No test image is of a class with many (more than 100) training images."
    assert forward.startswith("forward50: the test images don't allow it: ")
    needed = "It takes 50 test images of the class with the {} training images, falling to one of that with the {}."
    assert forward.endswith(needed.format("most", "fewest"))
    assert backward.startswith("backward50: ")
    assert backward.endswith(needed.format("fewest", "most"))
    _, remarks = reliability_of(answers(9, 0, 4), RunClasses(NAMES, COUNTS), [])
    assert "uniform: the test images don't allow it" in " ".join(remarks)
    assert "It takes a test image of each class." in " ".join(remarks)


@pytest.mark.parametrize(("name", "sizes"), [("forward50", (50, 7, 1)), ("backward50", (1, 7, 50))])
def test_a_shift_takes_as_many_images_as_is_said(name: str, sizes: tuple[int, ...]) -> None:
    """√50 = 7.07 of the class between."""
    assert len(select([name], TestSplit(np.repeat(np.arange(3), sizes), COUNTS))[0].indices) == 58
    fewer = [size - (size == 50) for size in sizes]
    with pytest.raises(UserError, match="the test images don't allow it"):
        select([name], TestSplit(np.repeat(np.arange(3), fewer), COUNTS))


def test_without_training_counts_only_the_whole_split_is_shown() -> None:
    diagrams, remarks = reliability_of(answers(4, 4, 4), RunClasses(NAMES, None), [])
    assert [each.title for each in diagrams] == ["all test images"]
    assert "training images of each class are not known" in remarks[0]
    assert reliability_of(None, RunClasses(NAMES, COUNTS), []) == ([], [])


def test_images_that_a_list_names_make_a_diagram_as_they_make_a_sweep() -> None:
    """The list names images 0, 2 and 5 of the split; 2 can't be read, so that they are the first and fifth answer."""

    def listed_shift(direction: str, ratio: int) -> ListedImages | None:
        return ListedImages(np.array([0, 2, 5]), published=True) if (direction, ratio) == ("forward", 50) else None

    loader = SimpleNamespace(
        cls_num_list=COUNTS,
        class_names=NAMES,
        shifts_are_listed=True,
        listed_shift=listed_shift,
        files_of=lambda indices: [str(index) for index in indices],
    )
    kept = KeptPredictions(
        np.array([0, 0, 1, 1, 2, 2]), np.array([2]), np.array([0, 0, 1, 1, 1, 2]), np.full(6, 0.5), 3
    )
    diagrams, _ = reliability_of(kept, RunClasses(NAMES, COUNTS, cast(Any, loader)), [])
    forward = next(each for each in diagrams if each.title == "forward50")
    assert (forward.images, forward.accuracy) == (2, 0.5)

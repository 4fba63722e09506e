"""Accuracies, groups and confusion, against scikit-learn and by hand."""

import math

import numpy as np
import pytest

from model.scores import (
    balanced_accuracy,
    class_accuracies,
    confusion_matrix,
    group_accuracies,
    normalise_rows,
)
from utils.shot_groups import shot_groups

sklearn_metrics = pytest.importorskip("sklearn.metrics")


@pytest.fixture
def predicted():
    rng = np.random.default_rng(0)
    targets = np.concatenate([np.arange(6), rng.choice(6, 194, p=[0.4, 0.3, 0.15, 0.1, 0.03, 0.02])])
    predictions = np.where(rng.random(200) < 0.6, targets, rng.integers(0, 6, 200))
    return predictions, targets


def test_scores_agree_with_scikit_learn(predicted):
    predictions, targets = predicted
    assert balanced_accuracy(predictions, targets, 6) == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(targets, predictions)
    )
    recalls = sklearn_metrics.recall_score(targets, predictions, average=None)
    np.testing.assert_allclose(class_accuracies(predictions, targets, 6), recalls)
    np.testing.assert_array_equal(
        confusion_matrix(predictions, targets, 6), sklearn_metrics.confusion_matrix(targets, predictions)
    )
    np.testing.assert_allclose(
        normalise_rows(confusion_matrix(predictions, targets, 6)),
        sklearn_metrics.confusion_matrix(targets, predictions, normalize="true"),
    )


def test_order_of_samples_and_names_of_classes_do_not_matter(predicted):
    predictions, targets = predicted
    shuffled = np.random.default_rng(1).permutation(200)
    names = np.array([3, 1, 5, 0, 2, 4])
    expected = class_accuracies(predictions, targets, 6)
    np.testing.assert_array_equal(class_accuracies(predictions[shuffled], targets[shuffled], 6), expected)
    np.testing.assert_array_equal(class_accuracies(names[predictions], names[targets], 6)[names], expected)


def test_absent_classes():
    predictions, targets = [0, 1, 2], [0, 0, 2]  # class 1 only predicted, class 3 nowhere
    np.testing.assert_array_equal(class_accuracies(predictions, targets, 4), [0.5, np.nan, 1.0, np.nan])
    assert balanced_accuracy(predictions, targets, 4) == 0.75
    confusion = confusion_matrix(predictions, targets, 4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert normalise_rows(confusion).sum(axis=1).tolist() == [1, 0, 1, 0]


def test_without_samples_everything_is_nan_and_nothing_warns():
    assert math.isnan(balanced_accuracy(np.array([], int), np.array([], int), 3))


@pytest.mark.parametrize(("predictions", "targets"), [([0, 3], [0, 1]), ([0, 1], [0, 3]), ([0, -1], [0, 1])])
def test_indices_that_are_no_classes_are_refused(predictions, targets):
    with pytest.raises(ValueError, match=r"class indices must lie in 0 … 2"):
        confusion_matrix(predictions, targets, 3)


def test_targets_that_are_no_classes_are_refused():
    with pytest.raises(ValueError, match=r"targets must lie in 0 … 2"):
        class_accuracies([0, 1], [0, 3], 3)


def test_groups_at_their_boundaries():
    groups = shot_groups([500, 101, 100, 20, 19, 0])
    assert {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()} == {
        "many": [0, 1],
        "medium": [2, 3],
        "few": [4, 5],
    }


def test_group_accuracies_are_means_of_class_accuracies():
    accuracies = np.array([0.9, 0.7, 0.5, np.nan, 0.1])
    groups = group_accuracies(accuracies, [300, 200, 50, 40, 5])
    assert groups == pytest.approx({"many": 0.8, "medium": 0.5, "few": 0.1})


def test_an_empty_group_is_nan_without_a_warning():
    groups = group_accuracies(np.array([0.25, 0.75]), [500, 400])
    assert groups["many"] == 0.5
    assert math.isnan(groups["medium"])
    assert math.isnan(groups["few"])

"""Test distributions, and scores on them, against plain loops and against Bayes' rule by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trainer.evaluation.distributions import PRESETS, Distribution, distributions, evaluate
from trainer.evaluation.predictions import Predictions

ORDER = [
    "forward50",
    "forward25",
    "forward10",
    "forward5",
    "forward2",
    "uniform",
    "backward2",
    "backward5",
    "backward10",
    "backward25",
    "backward50",
]
SIZES = {10: (2795, 3229, 4084, 5081, 7241), 100: (2486, 2956, 3876, 4932, 7166)}  # r = 50, 25, 10, 5, 2


class Split:
    """What the protocols ask of a loader of the test split."""

    def __init__(self, targets: np.ndarray, counts: list[int], lists: dict[str, np.ndarray] | None = None) -> None:
        self.targets, self.cls_num_list, self.lists = targets, counts, lists or {}

    def published_shift(self, direction: str, ratio: int) -> np.ndarray | None:
        return self.lists.get(f"{direction}{ratio}")


def cifar_split(num_classes: int, imbalance: int = 100) -> Split:
    """10,000 labels in a random order, as CIFAR's test files have them."""
    targets = np.random.default_rng(num_classes).permutation(np.arange(10_000) % num_classes)
    largest = 50_000 // num_classes
    return Split(targets, [int(largest * (1 / imbalance) ** (i / (num_classes - 1))) for i in range(num_classes)])


def plain_subset(targets: np.ndarray, ratio: int, *, backward: bool) -> list[int]:
    """The benchmark's rule, written as its first implementation was: NumPy's global generator, class after class."""
    num_classes = int(targets.max()) + 1
    largest = len(targets) / num_classes
    counts = [int(largest * (1 / ratio) ** (i / (num_classes - 1.0))) for i in range(num_classes)]
    if backward:
        counts = counts[::-1]
    np.random.seed(0)
    chosen: list[int] = []
    for label, count in enumerate(counts):
        where = np.where(targets == label)[0]
        np.random.shuffle(where)
        chosen.extend(where[:count])
    return chosen


@pytest.mark.parametrize("num_classes", [10, 100])
def test_the_eleven_distributions_of_cifar_have_the_published_order_and_sizes(num_classes: int) -> None:
    found = distributions(cifar_split(num_classes), PRESETS["cifar"].ratios)
    assert [distribution.name for distribution in found] == ORDER
    sizes = SIZES[num_classes]
    assert [len(distribution.indices) for distribution in found] == [*sizes, 10_000, *reversed(sizes)]


@pytest.mark.parametrize("num_classes", [10, 100])
def test_the_distributions_are_the_benchmarks_very_images(num_classes: int) -> None:
    split = cifar_split(num_classes)
    for distribution in distributions(split, PRESETS["cifar"].ratios):
        if distribution.name == "uniform":
            np.testing.assert_array_equal(distribution.indices, np.arange(10_000))
            continue
        ratio = int(distribution.name.removeprefix("forward").removeprefix("backward"))
        expected = plain_subset(split.targets, ratio, backward=distribution.name.startswith("backward"))
        assert distribution.indices.tolist() == expected


@pytest.mark.parametrize("imbalance", [1, 10, 100])
def test_forward_and_backward_do_not_depend_on_how_long_the_training_tail_is(imbalance: int) -> None:
    usual = distributions(cifar_split(10), (10,))
    other = distributions(cifar_split(10, imbalance), (10,))
    for ours, theirs in zip(usual, other, strict=True):
        np.testing.assert_array_equal(ours.indices, theirs.indices)


def test_presets_are_those_of_the_three_scripts() -> None:
    assert {name: preset.ratios for name, preset in PRESETS.items()} == {
        "cifar": (50, 25, 10, 5, 2),
        "imagenet": (50, 25, 10, 5, 2),
        "inat": (3, 2),
    }
    targets = np.repeat(np.arange(5), 3)
    names = [distribution.name for distribution in distributions(Split(targets, [9, 7, 5, 3, 1]), (3, 2))]
    assert names == ["forward3", "forward2", "uniform", "backward2", "backward3"]


def test_classes_are_ranked_by_training_frequency_ties_by_label() -> None:
    targets = np.repeat(np.arange(4), 8)
    split = Split(targets, [3, 10, 10, 50])  # ranks: 3, then 1 and 2, then 0
    found = {d.name: np.bincount(targets[d.indices], minlength=4).tolist() for d in distributions(split, (8,))}
    # 8 · 8^(−rank/3): 8, 4, 2, 1
    assert found["forward8"] == [1, 4, 2, 8]
    assert found["backward8"] == [8, 2, 4, 1]


def test_a_published_list_comes_before_the_rule() -> None:
    targets = np.repeat(np.arange(4), 8)
    listed = np.array([31, 0, 5])
    found = distributions(Split(targets, [9, 8, 7, 6], {"backward2": listed}), (2,))
    assert found[2].name == "backward2"
    np.testing.assert_array_equal(found[2].indices, listed)
    assert len(found[0].indices) > 3


# -- scores -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """Three experts that are right more often than not, on 10,000 images of ten classes."""
    random = np.random.default_rng(4)
    targets = cifar_split(10).targets
    logits = random.normal(size=(10_000, 3, 10)).astype(np.float32)
    logits[np.arange(10_000), :, targets] += np.array([2.0, 1.5, 0.5], dtype=np.float32)
    logits[:, 0, :3] += 1  # the first prefers the head
    return Predictions(logits, targets)


def softmax_by_hand(row: np.ndarray) -> np.ndarray:
    exponentials = [math.exp(value) for value in row.tolist()]
    return np.array(exponentials) / sum(exponentials)


def test_sweep_scores_are_those_of_a_plain_loop_over_each_subset(predictions: Predictions) -> None:
    split = cifar_split(10)
    groups = {
        "many": [i for i, count in enumerate(split.cls_num_list) if count > 100],
        "medium": [i for i, count in enumerate(split.cls_num_list) if 20 <= count <= 100],
    }
    for distribution in distributions(split, (50, 2)):
        if distribution.name == "uniform":
            subset = list(range(10_000))
        else:
            ratio = int(distribution.name.removeprefix("forward").removeprefix("backward"))
            subset = plain_subset(split.targets, ratio, backward=distribution.name.startswith("backward"))
        right, total = [0] * 10, [0] * 10
        for i in subset:
            mean = (predictions.logits[i, 0] + predictions.logits[i, 1] + predictions.logits[i, 2]) / 3
            total[split.targets[i]] += 1
            right[split.targets[i]] += int(mean.argmax() == split.targets[i])
        by_class = [r / t for r, t in zip(right, total, strict=True)]
        found = evaluate(predictions, distribution, split.cls_num_list)
        assert found["top1"] == pytest.approx(sum(right) / sum(total))
        assert found["balanced"] == pytest.approx(sum(by_class) / 10)
        assert found["per_class"] == pytest.approx(by_class)
        for name, members in groups.items():
            assert found[name] == pytest.approx(sum(by_class[i] for i in members) / len(members))
        assert math.isnan(found["few"])  # at ratio 100 CIFAR-10's rarest class has 50 images


@pytest.mark.parametrize("name", ["forward10", "backward50", "uniform"])
def test_a_known_prior_is_bayes_rule(predictions: Predictions, name: str) -> None:
    """p(y | x) under the test prior ∝ p(y | x) under the uniform one × π_test(y)."""
    split = cifar_split(10)
    (distribution,) = (d for d in distributions(split, (50, 10)) if d.name == name)
    targets = split.targets[distribution.indices]
    prior = np.bincount(targets, minlength=10) / len(targets)
    right, log_likelihood = 0, 0.0
    for i, target in zip(distribution.indices, targets, strict=True):
        posterior = softmax_by_hand(predictions.logits[i].mean(axis=0)) * prior
        posterior /= posterior.sum()
        right += int(posterior.argmax() == target)
        log_likelihood += math.log(posterior[target])
    found = evaluate(predictions, distribution, split.cls_num_list, correct_prior=True)
    assert found["top1"] == pytest.approx(right / len(targets))
    assert found["nll"] == pytest.approx(-log_likelihood / len(targets), rel=1e-4)


def test_the_uniform_prior_corrects_nothing(predictions: Predictions) -> None:
    uniform = Distribution("uniform", np.arange(10_000))
    counts = cifar_split(10).cls_num_list
    plain = evaluate(predictions, uniform, counts)
    corrected = evaluate(predictions, uniform, counts, correct_prior=True)
    for name in ("top1", "balanced", "ece", "nll"):
        assert corrected[name] == pytest.approx(plain[name], abs=1e-5)


def test_a_class_absent_from_the_test_set_is_never_predicted_under_its_known_prior() -> None:
    logits = np.zeros((4, 1, 3), dtype=np.float32)
    logits[:, 0, 2] = 10  # the network is sure of the class that is not there
    logits[:, 0, 0] = 1
    predictions = Predictions(logits, np.array([0, 0, 0, 1]))
    everything = Distribution("some", np.arange(4))
    assert evaluate(predictions, everything, [5, 5, 5])["top1"] == 0
    assert evaluate(predictions, everything, [5, 5, 5], correct_prior=True)["top1"] == 0.75


def test_the_ensemble_is_the_mean_of_raw_logits_not_of_probabilities() -> None:
    # expert 0 is very sure of class 0, the two others slightly for class 1: the logits' mean is for class 0,
    # the votes and the mean of the probabilities are for class 1
    logits = np.array([[[9.0, 0.0], [0.0, 4.0], [0.0, 4.0]]], dtype=np.float32)
    whole = Distribution("uniform", np.array([0]))
    assert np.mean([softmax_by_hand(row)[0] for row in logits[0]]) < 0.5
    assert evaluate(Predictions(logits, np.array([0])), whole, [5, 5])["top1"] == 1


def test_one_experts_scores_are_its_own(predictions: Predictions) -> None:
    whole = Distribution("uniform", np.arange(10_000))
    for expert in range(3):
        hits = predictions.logits[:, expert].argmax(axis=1) == predictions.targets
        found: dict[str, Any] = evaluate(predictions, whole, cifar_split(10).cls_num_list, expert=expert)
        assert found["top1"] == pytest.approx(hits.mean())

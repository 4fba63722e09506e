"""The metrics: what is true of each that is in the registry, and the values of ours by independent means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.metrics import METRICS, LabelledLogits, SampleMetric, SetMetric, batch_metrics, sample_metric, set_metric

sklearn_metrics = pytest.importorskip("sklearn.metrics")

NAMES = list(METRICS)
BATCH_NAMES = list(batch_metrics(NAMES))
CLASSES = 9
COUNTS = np.array([500, 300, 101, 100, 60, 20, 19, 4, 1])  # three classes a group


def random_set(seed: int = 0, size: int = 400) -> LabelledLogits:
    """Random predictions, every class among the labels, right more often than by chance."""
    random = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(CLASSES), random.integers(0, CLASSES, size - CLASSES)])
    logits = random.normal(size=(size, CLASSES))
    logits[np.arange(size), targets] += 1
    return LabelledLogits(logits, targets, COUNTS)


# -- each metric of the registry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_it_is_called_what_it_is_registered_as_and_has_a_title_and_a_description(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert (metric.of_samples if isinstance(metric, SampleMetric) else metric.function).__doc__
    assert metric.title
    assert [other.title for other in METRICS.values()].count(metric.title) == 1


@pytest.mark.parametrize("name", NAMES)
def test_it_is_finite_for_random_predictions_a_fraction_where_it_is_shown_in_percent(name: str) -> None:
    for seed in range(3):
        value = METRICS[name].of_set(random_set(seed))
        assert type(value) is float
        assert math.isfinite(value)
        assert not METRICS[name].percent or 0 <= value <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    labelled = random_set()
    order = np.random.default_rng(1).permutation(len(labelled.targets))
    shuffled = LabelledLogits(labelled.logits[order], labelled.targets[order], COUNTS)
    assert METRICS[name].of_set(shuffled) == pytest.approx(METRICS[name].of_set(labelled))


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_classes_do_not_matter(name: str) -> None:
    labelled = random_set()
    new = np.random.default_rng(2).permutation(CLASSES)  # class c is called new[c]
    old = np.argsort(new)
    renamed = LabelledLogits(labelled.logits[:, old], new[labelled.targets], COUNTS[old])
    assert METRICS[name].of_set(renamed) == pytest.approx(METRICS[name].of_set(labelled))


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_added_to_a_samples_logits_does_not_matter(name: str) -> None:
    labelled = random_set()
    shifted = replace(labelled, logits=labelled.logits + np.arange(len(labelled.targets))[:, np.newaxis] / 8)
    assert METRICS[name].of_set(shifted) == pytest.approx(METRICS[name].of_set(labelled))


@pytest.mark.parametrize("name", NAMES)
def test_sure_and_right_is_better_than_sure_and_wrong_in_its_direction(name: str) -> None:
    targets = np.arange(90) % CLASSES
    right, wrong = (30 * np.eye(CLASSES)[targets] * sign for sign in (1, -1))
    better, worse = (METRICS[name].of_set(LabelledLogits(logits, targets, COUNTS)) for logits in (right, wrong))
    assert (better > worse) if METRICS[name].higher_is_better else (better < worse)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_it_takes_any_floating_type_and_arrays_that_can_not_be_written(name: str, dtype: type) -> None:
    labelled = random_set()
    logits = labelled.logits.astype(dtype)
    logits.flags.writeable = False
    expected = METRICS[name].of_set(replace(labelled, logits=logits.astype(np.float64)))
    assert METRICS[name].of_set(replace(labelled, logits=logits)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", BATCH_NAMES)
def test_of_a_batch_it_is_the_mean_over_its_samples(name: str) -> None:
    metric = METRICS[name]
    assert isinstance(metric, SampleMetric)
    labelled = random_set()
    logits, targets = labelled.tensors
    whole = metric.of_batch(logits, targets)
    halves = [metric.of_batch(logits[half], targets[half]) for half in (slice(0, 200), slice(200, 400))]
    assert (whole.shape, whole.dtype) == ((), torch.float32)
    assert whole.item() == pytest.approx(metric.of_set(labelled))
    assert torch.stack(halves).mean().item() == pytest.approx(whole.item())


@pytest.mark.parametrize("name", BATCH_NAMES)
def test_of_a_batch_it_never_waits_for_the_device(name: str) -> None:
    """Tensors of the meta device have no values: to ask for one is an error."""
    metric = METRICS[name]
    assert isinstance(metric, SampleMetric)
    value = metric.of_batch(torch.empty(4, 7, device="meta"), torch.empty(4, dtype=torch.long, device="meta"))
    assert value.device.type == "meta"


# -- values ---------------------------------------------------------------------------------------------------------


def mean_recall(classes: list[int]) -> Callable[[LabelledLogits], float]:
    def reference(labelled: LabelledLogits) -> float:
        predictions = labelled.logits.argmax(axis=1)
        return sklearn_metrics.recall_score(labelled.targets, predictions, labels=classes, average="macro")

    return reference


def gaps_of_bins(labelled: LabelledLogits) -> list[tuple[float, float]]:
    """(weight, |accuracy − confidence|) of each filled bin, sample by sample."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, target in zip(labelled.logits.tolist(), labelled.targets.tolist(), strict=True):
        confidence = max(math.exp(value) for value in row) / sum(math.exp(value) for value in row)
        bins.setdefault(math.ceil(confidence * 15), []).append((confidence, row.index(max(row)) == target))
    return [
        (len(members) / len(labelled.targets), abs(sum(c - right for c, right in members)) / len(members))
        for members in bins.values()
    ]


REFERENCES: dict[str, Callable[[LabelledLogits], float]] = {
    "accuracy": lambda s: sklearn_metrics.accuracy_score(s.targets, s.logits.argmax(axis=1)),
    "top_k_acc": lambda s: sklearn_metrics.top_k_accuracy_score(s.targets, s.logits, k=5, labels=np.arange(CLASSES)),
    "balanced_accuracy": lambda s: sklearn_metrics.balanced_accuracy_score(s.targets, s.logits.argmax(axis=1)),
    "many": mean_recall([0, 1, 2]),
    "medium": mean_recall([3, 4, 5]),
    "few": mean_recall([6, 7, 8]),
    "ece": lambda s: sum(weight * gap for weight, gap in gaps_of_bins(s)),
    "mce": lambda s: max(gap for _, gap in gaps_of_bins(s)),
    "nll": lambda s: sklearn_metrics.log_loss(
        s.targets, np.exp(s.logits) / np.exp(s.logits).sum(axis=1, keepdims=True), labels=np.arange(CLASSES)
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_has_the_value_of_an_independent_computation(name: str, seed: int) -> None:
    labelled = random_set(seed)
    assert METRICS[name].of_set(labelled) == pytest.approx(REFERENCES[name](labelled))


def test_every_metric_by_hand() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.28, 0.62, 0.1], [0.2, 0.7, 0.1], [0.1, 0.28, 0.62]])
    targets = np.array([0, 0, 1, 2])  # predicted 0, 1, 1, 2: right, wrong, right, right
    labelled = LabelledLogits(np.log(probabilities) + 5, targets, np.array([200, 50, 3]))
    expected = {
        "accuracy": 0.75,
        "top_k_acc": 1.0,  # of 3 classes
        "balanced_accuracy": 2.5 / 3,
        "many": 0.5,
        "medium": 1.0,
        "few": 1.0,
        # bins of 1/15: 0.8 | 0.62 and 0.62 | 0.7 with gaps 0.2, |0.62 − 0.5|, 0.3
        "ece": (0.2 + 2 * 0.12 + 0.3) / 4,
        "mce": 0.3,
        "nll": -(math.log(0.8) + math.log(0.28) + math.log(0.7) + math.log(0.62)) / 4,
    }
    assert {name: METRICS[name].of_set(labelled) for name in expected} == pytest.approx(expected)


def test_a_fraction_of_a_set_has_all_the_digits_of_float64() -> None:
    targets = np.array([0, 1, 2, 0, 0, 0, 0, 0, 0, 0])
    labelled = LabelledLogits(np.eye(9, dtype=np.float32)[np.zeros(10, int)], targets, COUNTS)
    assert METRICS["accuracy"].of_set(labelled) == 0.8  # in float32 it would be 0.800000011920929


def test_a_group_without_test_images_is_nan_without_a_warning() -> None:
    labelled = random_set()
    rare = labelled.targets < 6
    without = LabelledLogits(labelled.logits[rare], labelled.targets[rare], COUNTS)
    assert math.isnan(METRICS["few"].of_set(without))
    assert math.isfinite(METRICS["balanced_accuracy"].of_set(without))


# -- the registry ---------------------------------------------------------------------------------------------------


def test_the_published_names_are_there_for_batches_too() -> None:
    assert {"accuracy", "top_k_acc"} <= set(BATCH_NAMES)
    assert list(batch_metrics(["top_k_acc", "ece", "accuracy"])) == ["top_k_acc", "accuracy"]


def test_a_function_becomes_a_metric_of_its_name() -> None:
    @sample_metric("margin", percent=False)
    def margin(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return output.gather(1, target.unsqueeze(1))[:, 0] - output.mean(dim=1)

    @set_metric("predicted classes", higher_is_better=False, percent=False, in_table=False)
    def predicted_classes(labelled: LabelledLogits) -> float:
        return len(np.unique(labelled.predictions))

    assert isinstance(margin, SampleMetric)
    assert isinstance(predicted_classes, SetMetric)
    assert (margin.name, margin.in_table, margin.higher_is_better) == ("margin", True, True)
    assert (predicted_classes.name, predicted_classes.in_table) == ("predicted_classes", False)
    labelled = LabelledLogits(np.array([[3.0, 1.0, 2.0]]), np.array([0]), np.array([3, 2, 1]))
    assert margin.of_set(labelled) == 1
    assert predicted_classes.of_set(labelled) == 1.0

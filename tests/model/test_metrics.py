"""The metrics: what is true of each that is in the registry."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.metrics import METRICS, LabelledLogits, SampleMetric, SetMetric, batch_metrics, sample_metric, set_metric
from tests.model.random_sets import CLASSES, COUNTS, random_set

sklearn_metrics = pytest.importorskip("sklearn.metrics")

NAMES = list(METRICS)
BATCH_NAMES = list(batch_metrics(NAMES))

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


PARTS = {"brier_resolution", "brier_uncertainty", "brier_within_bins", "underconfidence"}
"""Of a sum, and good or bad only with the others; those that are sure are never under-confident."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PARTS])
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

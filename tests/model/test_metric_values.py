"""The values of the metrics: by hand, sample by sample, and by other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.class_calibration import ClassForecasts
from model.metrics import METRICS, LabelledLogits
from tests.model.random_sets import CLASSES, COUNTS, random_set
from utils import row_blocks

sklearn_metrics = pytest.importorskip("sklearn.metrics")

NAMES = list(METRICS)


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


def binned_probabilities(labelled: LabelledLogits) -> dict[tuple[int, int], list[tuple[float, bool]]]:
    """(probability, is it the class?) of each sample by class and bin of 1/15, sample by sample."""
    members: dict[tuple[int, int], list[tuple[float, bool]]] = {}
    for row, target in zip(labelled.logits.tolist(), labelled.targets.tolist(), strict=True):
        total = sum(math.exp(value) for value in row)
        for label, value in enumerate(row):
            probability = math.exp(value) / total
            members.setdefault((label, math.ceil(probability * 15)), []).append((probability, label == target))
    return members


def sum_over_bins(labelled: LabelledLogits, term: Callable[[np.ndarray, np.ndarray, float], float]) -> float:
    """Σ over classes and bins of a term of the bin's probabilities, hits and the class's frequency, divided by N."""
    frequencies = np.bincount(labelled.targets, minlength=CLASSES) / len(labelled.targets)
    terms = [
        term(*np.array(members, float).T, frequencies[label])
        for (label, _), members in binned_probabilities(labelled).items()
    ]
    return sum(terms) / len(labelled.targets)


def one_hot_distance(labelled: LabelledLogits) -> float:
    probabilities = np.exp(labelled.logits) / np.exp(labelled.logits).sum(axis=1, keepdims=True)
    return ((probabilities - np.eye(CLASSES)[labelled.targets]) ** 2).sum(axis=1).mean()


def signed_gaps(labelled: LabelledLogits, sign: int) -> float:
    """Σ n_b/N · max(±(confidence − accuracy), 0)."""
    top = {}
    for row, target in zip(labelled.logits.tolist(), labelled.targets.tolist(), strict=True):
        confidence = max(math.exp(value) for value in row) / sum(math.exp(value) for value in row)
        top.setdefault(math.ceil(confidence * 15), []).append(confidence - (row.index(max(row)) == target))
    return sum(max(sign * sum(gaps), 0) for gaps in top.values()) / len(labelled.targets)


def gaps_of_equal_parts(labelled: LabelledLogits) -> float:
    """ECE over 15 parts of the samples in order of confidence; 400 are 10 parts of 27 and 5 of 26."""
    top = np.exp(labelled.logits.max(axis=1)) / np.exp(labelled.logits).sum(axis=1)
    order = np.argsort(top)
    gaps, start = 0.0, 0
    for size in [27] * 10 + [26] * 5:
        part = order[start : start + size]
        gaps += abs((top[part] - (labelled.logits[part].argmax(axis=1) == labelled.targets[part])).sum())
        start += size
    return gaps / 400


def risk_over_coverage(labelled: LabelledLogits) -> float:
    top = np.exp(labelled.logits.max(axis=1)) / np.exp(labelled.logits).sum(axis=1)
    wrong = labelled.logits.argmax(axis=1) != labelled.targets
    return float(np.mean([wrong[top >= threshold].mean() for threshold in top]))


REFERENCES: dict[str, Callable[[LabelledLogits], float]] = {
    "accuracy": lambda s: sklearn_metrics.accuracy_score(s.targets, s.logits.argmax(axis=1)),
    "top_k_acc": lambda s: sklearn_metrics.top_k_accuracy_score(s.targets, s.logits, k=5, labels=np.arange(CLASSES)),
    "balanced_accuracy": lambda s: sklearn_metrics.balanced_accuracy_score(s.targets, s.logits.argmax(axis=1)),
    "macro_f1": lambda s: sklearn_metrics.f1_score(s.targets, s.logits.argmax(axis=1), average="macro"),
    "many": mean_recall([0, 1, 2]),
    "medium": mean_recall([3, 4, 5]),
    "few": mean_recall([6, 7, 8]),
    "ece": lambda s: sum(weight * gap for weight, gap in gaps_of_bins(s)),
    "mce": lambda s: max(gap for _, gap in gaps_of_bins(s)),
    "adaptive_ece": gaps_of_equal_parts,
    "classwise_ece": lambda s: sum_over_bins(s, lambda p, hits, _: abs(p.sum() - hits.sum())) / CLASSES,
    "overconfidence": lambda s: signed_gaps(s, 1),
    "underconfidence": lambda s: signed_gaps(s, -1),
    "aurc": risk_over_coverage,
    "brier": one_hot_distance,
    "brier_reliability": lambda s: sum_over_bins(s, lambda p, hits, _: p.size * (p.mean() - hits.mean()) ** 2),
    "brier_resolution": lambda s: sum_over_bins(s, lambda p, hits, base: p.size * (hits.mean() - base) ** 2),
    "brier_uncertainty": lambda s: 1 - ((np.bincount(s.targets) / len(s.targets)) ** 2).sum(),
    "brier_within_bins": lambda s: sum_over_bins(
        s, lambda p, hits, _: ((p - p.mean()) ** 2).sum() - 2 * ((p - p.mean()) * (hits - hits.mean())).sum()
    ),
    "nll": lambda s: sklearn_metrics.log_loss(
        s.targets, np.exp(s.logits) / np.exp(s.logits).sum(axis=1, keepdims=True), labels=np.arange(CLASSES)
    ),
}


def test_every_metric_has_an_independent_computation() -> None:
    assert set(REFERENCES) == set(NAMES)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_has_the_value_of_an_independent_computation(name: str, seed: int) -> None:
    labelled = random_set(seed)
    assert METRICS[name].of_set(labelled) == pytest.approx(REFERENCES[name](labelled))


def test_every_metric_by_hand() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.28, 0.62, 0.1], [0.2, 0.7, 0.1], [0.1, 0.29, 0.61]])
    targets = np.array([0, 0, 1, 2])  # predicted 0, 1, 1, 2: right, wrong, right, right
    labelled = LabelledLogits(np.log(probabilities) + 5, targets, np.array([200, 50, 3]))
    expected = {
        "accuracy": 0.75,
        "top_k_acc": 1.0,  # of 3 classes
        "balanced_accuracy": 2.5 / 3,
        "macro_f1": (2 / 3 + 2 / 3 + 1) / 3,
        "many": 0.5,
        "medium": 1.0,
        "few": 1.0,
        # bins of 1/15: 0.8 | 0.62 and 0.61 | 0.7 with gaps 0.2, |0.615 − 0.5|, 0.3
        "ece": (0.2 + 2 * 0.115 + 0.3) / 4,
        "mce": 0.3,
        "adaptive_ece": (0.2 + 0.62 + 0.3 + 0.39) / 4,  # four samples: a bin each
        "overconfidence": 2 * 0.115 / 4,
        "underconfidence": (0.2 + 0.3) / 4,
        "aurc": (0 + 0 + 1 / 3 + 1 / 4) / 4,  # from the surest: right, right, wrong, right
        "brier": (0.06 + (0.72**2 + 0.62**2 + 0.01) + 0.14 + (0.01 + 0.29**2 + 0.39**2)) / 4,
        "brier_uncertainty": 1 - (0.5**2 + 0.25**2 + 0.25**2),
        "nll": -(math.log(0.8) + math.log(0.28) + math.log(0.7) + math.log(0.61)) / 4,
    }
    assert {name: METRICS[name].of_set(labelled) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_what_has_parts_is_their_sum(seed: int) -> None:
    of = {name: METRICS[name].of_set(random_set(seed)) for name in NAMES}
    parts = of["brier_reliability"] - of["brier_resolution"] + of["brier_uncertainty"] + of["brier_within_bins"]
    assert of["brier"] == pytest.approx(parts)
    assert of["ece"] == pytest.approx(of["overconfidence"] + of["underconfidence"])
    labelled = random_set(seed)
    surplus = labelled.confidences.mean() - of["accuracy"]
    assert of["overconfidence"] - of["underconfidence"] == pytest.approx(surplus)


def test_the_hesitant_who_are_right_are_underconfident() -> None:
    targets = np.arange(90) % CLASSES
    hesitant, sure = (LabelledLogits(scale * np.eye(CLASSES)[targets], targets, COUNTS) for scale in (1, 30))
    assert METRICS["underconfidence"].of_set(hesitant) == pytest.approx(1 - math.e / (math.e + 8))
    assert METRICS["underconfidence"].of_set(sure) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["ece", "mce", "classwise_ece"])
def test_it_agrees_with_torchmetrics(name: str) -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    labelled = random_set(3, size=2000)
    probabilities, targets = torch.from_numpy(labelled.probabilities), labelled.tensors[1]
    if name == "classwise_ece":
        errors = [
            functional.binary_calibration_error(column.contiguous(), (targets == label).long(), n_bins=15)
            for label, column in enumerate(probabilities.T)
        ]
        expected = torch.stack(errors).mean()
    else:
        norm = {"ece": "l1", "mce": "max"}[name]
        expected = functional.multiclass_calibration_error(probabilities, targets, CLASSES, n_bins=15, norm=norm)
    assert METRICS[name].of_set(labelled) == pytest.approx(expected.item(), rel=1e-5)


def test_large_sets_are_binned_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = random_set()
    whole = ClassForecasts(labelled.logits, labelled.targets).bins()
    confidences = labelled.confidences
    monkeypatch.setattr(row_blocks, "BLOCK", 7 * CLASSES)
    np.testing.assert_allclose(replace(labelled).confidences, confidences)
    for parts, sums in zip(ClassForecasts(labelled.logits, labelled.targets).bins(), whole, strict=True):
        np.testing.assert_allclose(parts, sums, atol=1e-9)
    assert whole.size == 400
    np.testing.assert_allclose(whole.hits.sum(axis=1), np.bincount(labelled.targets))


def test_of_equal_confidences_the_order_does_not_matter() -> None:
    targets = np.array([0] * 30 + [1] * 20)
    labelled = LabelledLogits(np.tile([2.0, 0.0], (50, 1)), targets, np.array([5, 5]))
    confidence = 1 / (1 + math.exp(-2))
    assert METRICS["aurc"].of_set(labelled) == pytest.approx(0.4)
    assert METRICS["adaptive_ece"].of_set(labelled) == pytest.approx(confidence - 0.6)


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
    expected = sklearn_metrics.f1_score(
        without.targets, without.predictions, labels=np.unique(without.targets), average="macro"
    )
    assert METRICS["macro_f1"].of_set(without) == pytest.approx(expected)


def test_of_equal_logits_the_first_classes_are_the_five_largest() -> None:
    logits = np.zeros((9, 9))
    logits[:, 8] = 1  # then classes 0 to 3
    labelled = LabelledLogits(logits, np.arange(9), COUNTS)
    assert labelled.values_of(METRICS["top_k_acc"].of_samples).tolist() == [True] * 4 + [False] * 4 + [True]

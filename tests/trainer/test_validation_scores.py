"""What an epoch's log has of the validation split."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from base import Monitor
from model.metrics import METRICS
from trainer.evaluation.validation import logged_names, validation_curves, validation_scores

sklearn_metrics = pytest.importorskip("sklearn.metrics")

COUNTS = [500, 200, 150, 80, 30, 10, 5]
TARGETS = np.random.default_rng(1).permutation(np.arange(70) % 7)
LOGITS = np.random.default_rng(0).normal(size=(70, 3, 7)).astype(np.float32)


def test_it_scores_the_mean_of_the_experts_logits() -> None:
    scores = validation_scores(LOGITS, TARGETS, COUNTS, ["accuracy", "top_k_acc"])
    mean = torch.from_numpy(LOGITS).mean(dim=1)
    predictions = mean.argmax(dim=1).numpy()
    assert list(scores) == ["val_loss", "val_balanced_accuracy", "val_accuracy", "val_top_k_acc"]
    expected_loss = torch.nn.functional.cross_entropy(mean, torch.from_numpy(TARGETS)).item()
    assert scores["val_loss"] == pytest.approx(expected_loss, rel=1e-6)
    balanced = sklearn_metrics.balanced_accuracy_score(TARGETS, predictions)
    assert scores["val_balanced_accuracy"] == pytest.approx(balanced)
    assert scores["val_accuracy"] == pytest.approx((predictions == TARGETS).mean())
    assert all(type(value) is float for value in scores.values())


def test_a_metric_of_batches_is_a_float32_mean_as_it_is_on_training_batches() -> None:
    logits = np.zeros((10, 1, 7), dtype=np.float32)
    logits[:, 0, 0] = 1
    targets = np.array([0] * 7 + [1, 2, 3])
    assert validation_scores(logits, targets, COUNTS, ["accuracy"])["val_accuracy"] == float(np.float32(0.7))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_can_be_validated_and_monitored(name: str) -> None:
    scores = validation_scores(LOGITS, TARGETS, COUNTS, [name])
    assert math.isfinite(scores[f"val_{name}"])
    assert set(scores) <= set(logged_names([name]))
    assert Monitor.parse(f"max val_{name}", logged_names([name])).name == f"val_{name}"


def test_groups_and_calibration_are_drawn_and_no_group_without_classes() -> None:
    right = np.eye(7, dtype=np.float32)[TARGETS][:, None] * 50.0
    right[TARGETS == 6] = np.eye(7, dtype=np.float32)[0] * 50.0  # the rarest class is taken for the first
    # by hand: of the two classes below 20 images one is always right, one never; 10 of 70 are wrong at 100 %
    expected = {"groups/many": 1.0, "groups/medium": 1.0, "groups/few": 0.5, "calibration/ece": 1 / 7}
    assert validation_curves(right, TARGETS, COUNTS) == pytest.approx(expected)
    assert set(validation_curves(right, TARGETS, [500] * 7)) == {"groups/many", "calibration/ece"}


def test_training_batches_log_only_metrics_that_are_means_over_samples() -> None:
    assert logged_names(["accuracy", "ece"]) == [
        "loss",
        "accuracy",
        "val_loss",
        "val_balanced_accuracy",
        "val_accuracy",
        "val_ece",
    ]

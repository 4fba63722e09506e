"""The product distribution × predictor × prior × metric, against plain loops and against Bayes' rule by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from model.metrics import METRICS, set_metric
from model.prior_estimation import HeldOut
from tests.trainer.cifar_splits import cifar_split, plain_subset
from trainer.evaluation.aggregations import AGGREGATIONS, predictors
from trainer.evaluation.distributions import Distribution, select
from trainer.evaluation.priors import PRIORS, PriorContext
from trainer.evaluation.protocol import evaluate

SPLIT = cifar_split(10)
COUNTS = SPLIT.class_counts


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    """Three experts that are right more often than not, on 10,000 images of ten classes."""
    random = np.random.default_rng(4)
    logits = random.normal(size=(10_000, 3, 10)).astype(np.float32)
    logits[np.arange(10_000), :, SPLIT.targets] += np.array([2.0, 1.5, 0.5], dtype=np.float32)
    logits[:, 0, :3] += 1  # the first prefers the head
    return logits


def scores(
    logits: np.ndarray,
    targets: Any,
    counts: Any,
    *,
    on: Distribution | None = None,
    aggregation: str = "mean",
    prior: str = "none",
    homes: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Of one distribution (else of all images) under one prior."""
    whole = Distribution("uniform", np.arange(len(targets)))
    chosen = predictors([aggregation], logits.shape[1])
    uniform = np.full((logits.shape[1], logits.shape[2]), 1 / logits.shape[2])
    rows = evaluate(
        logits,
        np.asarray(targets),
        counts,
        distributions=[on or whole],
        predictors=chosen,
        priors=[PRIORS[prior]],
        homes=uniform if homes is None else homes,
    )
    return list(rows)


def softmax_by_hand(row: np.ndarray) -> np.ndarray:
    exponentials = [math.exp(value) for value in row.tolist()]
    return np.array(exponentials) / sum(exponentials)


def test_sweep_scores_are_those_of_a_plain_loop_over_each_subset(logits: np.ndarray) -> None:
    groups = {
        "many": [i for i, count in enumerate(COUNTS) if count > 100],
        "medium": [i for i, count in enumerate(COUNTS) if 20 <= count <= 100],
    }
    for distribution in select(["forward50", "forward2", "uniform", "backward2", "backward50"], SPLIT):
        if distribution.name == "uniform":
            subset = list(range(10_000))
        else:
            ratio = int(distribution.name.removeprefix("forward").removeprefix("backward"))
            subset = plain_subset(SPLIT.targets, ratio, backward=distribution.name.startswith("backward"))
        right, total = [0] * 10, [0] * 10
        for i in subset:
            mean = (logits[i, 0] + logits[i, 1] + logits[i, 2]) / 3
            total[SPLIT.targets[i]] += 1
            right[SPLIT.targets[i]] += int(mean.argmax() == SPLIT.targets[i])
        by_class = [r / t for r, t in zip(right, total, strict=True)]
        (row,) = scores(logits, SPLIT.targets, COUNTS, on=distribution)
        assert (row["distribution"], row["images"]) == (distribution.name, len(subset))
        assert row["accuracy"] == pytest.approx(sum(right) / sum(total))
        assert row["balanced_accuracy"] == pytest.approx(sum(by_class) / 10)
        assert row["per_class"] == pytest.approx(by_class)
        for name, members in groups.items():
            assert row[name] == pytest.approx(sum(by_class[i] for i in members) / len(members))
        assert math.isnan(row["few"])  # at ratio 100 CIFAR-10's rarest class has 50 images


def test_every_combination_has_its_row_in_the_order_of_report(logits: np.ndarray) -> None:
    rows = evaluate(
        logits,
        SPLIT.targets,
        COUNTS,
        distributions=select(["forward2", "uniform"], SPLIT),
        predictors=predictors(["mean", "experts"], 3),
        priors=[PRIORS["none"], PRIORS["known"]],
        homes=np.full((3, 10), 0.1),
    )
    expected = [
        (distribution, predictor, prior)
        for distribution in ("forward2", "uniform")
        for predictor in ("ensemble", "expert 0", "expert 1", "expert 2")
        for prior in ("none", "known")
    ]
    assert [(row["distribution"], row["predictor"], row["prior"]) for row in rows] == expected


def test_a_metric_that_is_registered_is_in_every_row(logits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    @set_metric("wrong")
    def wrong(labelled: Any) -> float:
        return 1 - labelled.correct.mean()

    monkeypatch.setitem(METRICS, "wrong", wrong)
    (row,) = scores(logits, SPLIT.targets, COUNTS)
    assert row["wrong"] == pytest.approx(1 - row["accuracy"])
    assert set(METRICS) <= set(row)


# -- priors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["forward10", "backward50", "uniform"])
def test_a_known_prior_is_bayes_rule(logits: np.ndarray, name: str) -> None:
    """p(y | x) under the test prior ∝ p(y | x) under the uniform one × π_test(y)."""
    (distribution,) = select([name], SPLIT)
    targets = SPLIT.targets[distribution.indices]
    test_prior = np.bincount(targets, minlength=10) / len(targets)
    right, log_likelihood = 0, 0.0
    for i, target in zip(distribution.indices, targets, strict=True):
        posterior = softmax_by_hand(logits[i].mean(axis=0)) * test_prior
        posterior /= posterior.sum()
        right += int(posterior.argmax() == target)
        log_likelihood += math.log(posterior[target])
    (row,) = scores(logits, SPLIT.targets, COUNTS, on=distribution, prior="known")
    assert row["accuracy"] == pytest.approx(right / len(targets))
    assert row["nll"] == pytest.approx(-log_likelihood / len(targets), rel=1e-4)


def test_the_uniform_prior_corrects_nothing(logits: np.ndarray) -> None:
    (plain,) = scores(logits, SPLIT.targets, COUNTS)
    (corrected,) = scores(logits, SPLIT.targets, COUNTS, prior="known")
    for name in METRICS:
        assert corrected[name] == pytest.approx(plain[name], abs=1e-5, nan_ok=True)


def test_a_class_absent_from_the_test_set_is_never_predicted_under_its_known_prior() -> None:
    logits = np.zeros((4, 1, 3), dtype=np.float32)
    logits[:, 0, 2] = 10  # the network is sure of the class that is not there
    logits[:, 0, 0] = 1
    targets = [0, 0, 0, 1]
    assert [row["accuracy"] for row in scores(logits, targets, [5, 5, 5])] == [0]
    assert [row["accuracy"] for row in scores(logits, targets, [5, 5, 5], prior="known")] == [0.75]


@pytest.mark.parametrize("name", PRIORS)
def test_each_prior_leaves_shape_and_argument_alone_and_logits_finite(name: str) -> None:
    logits = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    before = logits.copy()
    held_out = HeldOut(logits[::2], np.arange(10) % 4)
    context = PriorContext(np.arange(20) % 3, [9, 5, 3, 1], "abcd", np.array([0.4, 0.3, 0.3, 0]), held_out)
    adjusted = PRIORS[name].corrected(logits, PRIORS[name].found(logits, context), context)
    assert adjusted.shape == (20, 4)
    assert np.isfinite(adjusted).all()
    np.testing.assert_array_equal(logits, before)


# -- aggregations ---------------------------------------------------------------------------------------------------


def test_the_ensemble_is_the_mean_of_raw_logits_not_of_probabilities() -> None:
    # expert 0 is very sure of class 0, the two others slightly for class 1: the logits' mean is for class 0,
    # the votes and the mean of the probabilities are for class 1
    logits = np.array([[[9.0, 0.0], [0.0, 4.0], [0.0, 4.0]]], dtype=np.float32)
    assert np.mean([softmax_by_hand(row)[0] for row in logits[0]]) < 0.5
    assert [row["accuracy"] for row in scores(logits, [0], [5, 5])] == [1]


def test_one_experts_scores_are_its_own(logits: np.ndarray) -> None:
    rows = scores(logits, SPLIT.targets, COUNTS, aggregation="experts")
    assert [row["predictor"] for row in rows] == ["expert 0", "expert 1", "expert 2"]
    for expert, row in enumerate(rows):
        hits = logits[:, expert].argmax(axis=1) == SPLIT.targets
        assert row["accuracy"] == pytest.approx(hits.mean())


def test_a_single_expert_is_the_ensemble() -> None:
    assert [predictor.name for predictor in predictors(["mean", "experts"], 1)] == ["ensemble"]


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_each_aggregation_makes_one_predictor_of_the_experts(name: str, logits: np.ndarray) -> None:
    views = np.stack([logits[:50], logits[:50] + 0.1])  # [2, 50, 3, 10]
    for predictor in predictors([name], 3):
        assert predictor.learnt(views).combine(logits[:50]).shape == (50, 10)

"""Unknown test priors: estimated without the labels, told with distance and intervals, better than none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.prior_estimation import HeldOut
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.priors import NONE, PRIORS, PriorContext
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.results import results_table
from trainer.evaluation.scripts import evaluation_parser

COUNTS = np.array([300, 100, 30, 10])
ESTIMATORS = ("auto", "em", "map-em", "tilt", "bbse", "rlls")


def drawn(counts: list[int], home: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [M, 1, C] that are Bayes' under `home` of images from Gaussian classes, and labels [M]."""
    labels = np.repeat(np.arange(4), counts)
    images = np.random.default_rng(seed).normal(1.5 * labels)
    logits = np.log(home) - (images[:, None] - 1.5 * np.arange(4)) ** 2 / 2
    return logits[:, None], labels


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    """Test images against the training tail, held-out images along it; the predictor is at home on the latter."""
    home = COUNTS / COUNTS.sum()
    logits, labels = drawn([60, 200, 600, 2000], home, 1)
    held_out_logits, held_out_labels = drawn([3000, 1000, 600, 600], home, 2)
    found = evaluate(
        logits,
        labels,
        COUNTS.tolist(),
        distributions=[Distribution("backward", np.arange(len(labels)))],
        predictors=predictors(["mean"], 1),
        priors=[NONE, PRIORS["known"], *(PRIORS[name] for name in ESTIMATORS)],
        homes=home[None],
        held_out=HeldOut(held_out_logits, held_out_labels),
    )
    return {row["prior"]: row for row in found}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimate_recovers_most_of_what_the_known_prior_brings(rows: dict[str, dict[str, Any]], name: str) -> None:
    none, known, estimated = (rows[prior]["accuracy"] for prior in ("none", "known", name))
    assert known > none + 0.1
    assert estimated > none + 0.85 * (known - none)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_row_has_the_estimate_its_distance_and_its_intervals(rows: dict[str, dict[str, Any]], name: str) -> None:
    row, true = rows[name], np.array([60, 200, 600, 2000]) / 2860
    prior, low, high = (np.array(row[column]) for column in ("test_prior", "test_prior_low", "test_prior_high"))
    assert prior.sum() == pytest.approx(1)
    assert row["prior_l1"] == pytest.approx(np.abs(prior - true).sum())
    assert row["prior_l1"] < 0.2 * np.abs(COUNTS / COUNTS.sum() - true).sum()
    assert (low <= prior + 1e-9).all()
    assert (prior <= high + 1e-9).all()
    assert (high - low).max() > 0.005


def test_what_was_not_estimated_has_no_distance_and_the_table_shows_it_where_there_is_one(
    rows: dict[str, dict[str, Any]],
) -> None:
    assert "prior_l1" not in rows["none"]
    assert "prior_l1" not in rows["known"]
    shown = [{"weights": "raw", **rows["em"]}]
    assert results_table(shown, first="distribution").splitlines()[0].split()[-4:] == ["prior", "L1", "±", "L1"]
    assert "prior L1" not in results_table([{"weights": "raw", **rows["none"]}], first="distribution")


def test_the_table_says_how_an_estimate_came_about(rows: dict[str, dict[str, Any]]) -> None:
    tilted = {"weights": "raw", **rows["auto"]}
    assert results_table([tilted], first="distribution").splitlines()[0].endswith("estimate")
    gamma, elsewhere = tilted["prior_in_words"].removeprefix("γ ").removesuffix(" % elsewhere").split(", ")
    assert float(gamma) == pytest.approx(-1, abs=0.15)  # the test images follow the training tail's inverse
    assert int(elsewhere) < 10
    assert 0 < tilted["prior_spread"] < 0.2


def test_which_have_use_for_held_out_images() -> None:
    assert {name for name, prior in PRIORS.items() if prior.held_out == "needed"} == {"bbse", "rlls"}
    assert {name for name, prior in PRIORS.items() if prior.held_out == "helpful"} == {"auto", "em", "map-em", "tilt"}


def test_held_out_images_make_good_for_posteriors_that_are_wrong() -> None:
    """Without a shift EM finds one where a class's logits are too low, unless held-out images show that they are."""
    uniform = np.full(4, 0.25)
    logits, labels = drawn([500] * 4, uniform, 3)
    held_out_logits, held_out_labels = drawn([500] * 4, uniform, 4)
    logits[:, :, 3] -= 2
    held_out_logits[:, :, 3] -= 2
    distances = []
    for held_out in (None, HeldOut(held_out_logits, held_out_labels)):
        (row,) = evaluate(
            logits,
            labels,
            [500] * 4,
            distributions=[Distribution("uniform", np.arange(2000))],
            predictors=predictors(["mean"], 1),
            priors=[PRIORS["em"]],
            homes=uniform[None],
            held_out=held_out,
        )
        distances.append(row["prior_l1"])
    assert distances[0] > 0.1
    assert distances[1] < 0.5 * distances[0]


def test_the_help_names_every_prior() -> None:
    said = evaluation_parser("", "").format_help()
    assert all(name in said for name in PRIORS)


@pytest.mark.parametrize("name", ["em", "tilt"])
def test_without_replicates_the_estimate_is_the_same_and_has_no_interval(name: str) -> None:
    home = COUNTS / COUNTS.sum()
    logits, _ = drawn([10, 20, 30, 40], home, 3)
    with_interval, without = (
        PRIORS[name].found(logits[:, 0], PriorContext(None, COUNTS.tolist(), "abcd", home, replicates=replicates))
        for replicates in (5, 0)
    )
    assert with_interval is not None
    assert without is not None
    np.testing.assert_array_equal(without.prior, with_interval.prior)
    assert (without.interval, without.spread, without.in_words) == (None, None, with_interval.in_words)


def test_estimators_share_what_they_start_from_for_the_same_logits_alone() -> None:
    home = COUNTS / COUNTS.sum()
    logits, _ = drawn([10, 20, 30, 40], home, 3)
    first, other = logits[:, 0], logits[:, 0] + np.arange(4)
    context = PriorContext(None, COUNTS.tolist(), "abcd", home)
    evidence = context.evidence(first)
    assert context.evidence(first) is evidence
    np.testing.assert_array_equal(context.evidence(other).logits, other)
    np.testing.assert_array_equal(context.evidence(first).logits, first)

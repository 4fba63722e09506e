"""A run's results, from stored predictions to rows: which networks, which distributions, in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from data_loader.loader import ListedImages
from model.metrics import METRICS
from trainer.evaluation.aggregations.sade import learn
from trainer.evaluation.checkpoint_networks import weights_in
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.opened_run import TestRun
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.presets import SWEEPS, WHOLE
from trainer.evaluation.priors import PRIORS
from trainer.evaluation.results import results_table

TARGETS = np.repeat(np.arange(4), 8)
RAW = np.random.default_rng(0).normal(size=(32, 2, 4)).astype(np.float32)
PERFECT = np.repeat(10 * np.eye(4, dtype=np.float32)[TARGETS][:, np.newaxis], 2, axis=1)


@pytest.fixture
def run() -> TestRun:
    """Of a checkpoint with averaged weights, on a data set with one published list."""

    def listed_shift(direction: str, ratio: int) -> ListedImages | None:
        return ListedImages(np.array([3, 1, 2]), published=True) if (direction, ratio) == ("backward", 2) else None

    loader: Any = SimpleNamespace(
        cls_num_list=[9, 7, 5, 3], class_names=list("abcd"), listed_shift=listed_shift, shifts_are_listed=True
    )
    predictions = Predictions({"raw": RAW, "averaged": PERFECT}, TARGETS)
    homes = np.full((2, 4), 0.25)
    return TestRun(Path("runs/checkpoint-epoch3.pth"), cast(Any, loader), predictions, "a run", homes)


def test_a_checkpoints_networks_are_its_raw_and_its_averaged_weights() -> None:
    names = ("raw", "averaged")
    assert weights_in({"state_dict": {"a": 1}, "epoch": 3}, names) == {"raw": {"a": 1}}
    both = weights_in({"averaged_state_dict": {"a": 2}, "optimizer_state_dict": {}, "state_dict": {"a": 1}}, names)
    assert list(both.items()) == [("raw", {"a": 1}), ("averaged", {"a": 2})]


def test_the_uniform_test_has_ensemble_and_experts_of_each_of_the_weights(run: TestRun) -> None:
    rows = run.rows(WHOLE, run.selected(WHOLE))
    names = ("ensemble", "expert 0", "expert 1")
    assert [(row["weights"], row["predictor"]) for row in rows] == [(w, n) for w in ("raw", "averaged") for n in names]
    assert {(row["checkpoint"], row["protocol"], row["prior"]) for row in rows} == {
        ("checkpoint-epoch3.pth", "test", "none")
    }
    assert [row["accuracy"] for row in rows[3:]] == [1, 1, 1]
    assert rows[0]["accuracy"] == (RAW.mean(axis=1).argmax(axis=1) == TARGETS).mean()
    assert all(set(METRICS) <= set(row) for row in rows)
    assert rows[0]["many"] is None  # no class has that many training images


def test_a_sweep_has_a_block_of_rows_for_each_of_the_weights_and_takes_published_lists(run: TestRun) -> None:
    rows = run.rows(SWEEPS["inat"], run.selected(SWEEPS["inat"]), prior=PRIORS["known"])
    distributions = list(SWEEPS["inat"].distributions)
    assert [row["distribution"] for row in rows] == 2 * distributions
    assert {row["prior"] for row in rows} == {"known"}
    assert [row["images"] for row in rows if row["distribution"] == "backward2"] == [3, 3]
    assert {row["distribution"] for row in rows if row["selection"] == "published list"} == {"backward2"}
    assert {row["selection"] for row in rows if row["distribution"] != "backward2"} == {"by rule"}


def test_images_that_were_trained_on_are_counted_in_each_distribution(run: TestRun) -> None:
    """Images 2 and 9 of 34 can't be read, so that image 3 is the third that can be, and so on."""
    skipped, trained_on = np.array([2, 9]), np.array([3, 9, 33])
    trained = replace(run, predictions=replace(run.predictions, skipped=skipped, trained_on=trained_on))
    last = len(TARGETS) - 1
    distributions = [Distribution("a", np.array([0, 1, 2])), Distribution("b", np.array([0, 2, last]))]
    names = SimpleNamespace(files_of=lambda indices: [str(index) for index in indices])
    trained = replace(trained, loader=cast(Any, SimpleNamespace(**vars(run.loader), **vars(names))))
    rows = trained.rows(WHOLE, distributions)
    assert {(row["distribution"], row["trained_on"]) for row in rows} == {("a", 1), ("b", 2)}
    assert {line.split()[-1] for line in results_table(rows, first="distribution").splitlines()[2:]} == {"1", "2"}
    unknown = run.rows(WHOLE, distributions)
    assert {row["trained_on"] for row in unknown} == {None}
    assert "trained on" not in results_table(unknown, first="distribution")


def test_other_distributions_than_the_presets_may_be_given(run: TestRun) -> None:
    preset = replace(SWEEPS["cifar"], distributions=("backward4", "uniform"))
    rows = run.rows(preset, run.selected(preset))
    assert [(row["distribution"], row["images"]) for row in rows[:2]] == [("backward4", 8 + 5 + 3 + 2), ("uniform", 32)]


def test_sades_weights_are_learnt_for_each_distribution_and_stand_in_its_row(run: TestRun) -> None:
    random = np.random.default_rng(1)
    noise = random.normal(size=(2, 32, 2, 4)) * np.array([0.1, 4.0])[:, np.newaxis]  # the second expert is unstable
    both = [Predictions({"raw": view, "averaged": view}, TARGETS) for view in RAW + noise]
    seen = replace(run, views=(both[0], both[1]), homes=np.array([[0.4, 0.3, 0.2, 0.1], [0.25] * 4]))
    sweep = SWEEPS["inat"].aggregated("sade")
    rows = [row for row in seen.rows(sweep, seen.selected(sweep)) if row["weights"] == "raw"]
    assert {row["predictor"] for row in rows} == {"sade"}
    assert all(row["expert_weights"][0] > 0.8 for row in rows)
    assert len({tuple(row["expert_weights"]) for row in rows}) > 1
    uniform = next(row for row in rows if row["distribution"] == "uniform")
    weighted = np.einsum("nec,e->nc", RAW, uniform["expert_weights"])
    assert uniform["accuracy"] == (weighted.argmax(axis=1) == TARGETS).mean()
    names = {row["predictor"] for row in seen.rows(WHOLE.aggregated("sade"), seen.selected(WHOLE))}
    assert names == {"ensemble", "sade", "expert 0", "expert 1"}


def test_sade_is_at_home_on_the_weighted_mean_of_its_experts_homes() -> None:
    homes = np.array([[0.8, 0.2], [0.5, 0.5]])
    predictor = learn(np.random.default_rng(0).normal(size=(2, 20, 2, 2)) * np.array([0.2, 3])[:, np.newaxis])
    first = predictor.expert_weights[0]  # type: ignore[index]
    log_ratio = first * np.log(0.8 / 0.2)
    found = predictor.home(homes)
    np.testing.assert_allclose(np.log(found[0] / found[1]), log_ratio)
    assert predictor.home(homes[:1]) is None

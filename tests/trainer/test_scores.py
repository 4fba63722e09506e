"""A row's groups and intervals: by hand, in the files, and in the tables."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.metrics import METRICS, LabelledLogits
from tests.scripts.command_line import Shell
from trainer.evaluation import results
from trainer.evaluation.result_files import write_results
from trainer.evaluation.results import group_table, result_row, results_table
from trainer.evaluation.scores import OF_GROUPS, scores_of

PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.28, 0.62, 0.1], [0.2, 0.7, 0.1], [0.1, 0.29, 0.61]])
TARGETS = np.array([0, 0, 1, 2])  # predicted 0, 1, 1, 2
COUNTS = np.array([200, 150, 3])


def row_of(logits: np.ndarray, targets: np.ndarray, counts: np.ndarray | None, **options: Any) -> dict[str, Any]:
    scores = {"distribution": "uniform", "predictor": "ensemble", "prior": "none", "images": len(targets)}
    scores |= scores_of(LabelledLogits(logits, targets, counts), **options)
    return result_row(scores, checkpoint=Path("a.pth"), protocol="test", weights="raw")


def test_groups_by_hand() -> None:
    groups = row_of(np.log(PROBABILITIES), TARGETS, COUNTS)["groups"]
    assert list(groups) == ["many", "medium", "few"]
    # three images, each in a bin of its own: right with 0.8 and 0.7, wrong with 0.62
    assert groups["many"] == {
        "classes": 2,
        "images": 3,
        "accuracy": pytest.approx(2 / 3),
        "ece": pytest.approx((0.2 + 0.62 + 0.3) / 3),
        "nll": pytest.approx(-(math.log(0.8) + math.log(0.28) + math.log(0.7)) / 3),
        "brier": pytest.approx((0.06 + (0.72**2 + 0.62**2 + 0.01) + 0.14) / 3),
        "overconfidence": pytest.approx(0.62 / 3),
        "underconfidence": pytest.approx((0.2 + 0.3) / 3),
    }
    assert groups["medium"] == {"classes": 0, "images": 0, **dict.fromkeys(OF_GROUPS)}
    assert groups["few"]["images"] == 1
    assert groups["few"]["nll"] == pytest.approx(-math.log(0.61))


def test_a_group_whose_classes_have_no_test_images_is_null_and_unknown_counts_have_no_groups(tmp_path: Path) -> None:
    logits, targets = np.log(PROBABILITIES[:3]), TARGETS[:3]
    row = row_of(logits, targets, COUNTS)
    assert row["groups"]["few"] == {"classes": 1, "images": 0, **dict.fromkeys(OF_GROUPS)}
    assert "groups" not in row_of(logits, targets, None)
    write_results(tmp_path, [row])
    assert json.loads((tmp_path / "results.json").read_text())["results"] == [row]
    with (tmp_path / "results.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert not {"groups", "intervals", "per_class"} & set(line)


def test_the_groups_are_the_sets_means_whatever_the_classes_are_called() -> None:
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(300, 9)), random.integers(9, size=300)
    counts = np.array([500, 300, 101, 100, 60, 20, 19, 4, 1])
    row, order = row_of(logits, targets, counts), random.permutation(9)
    for name in ("accuracy", "nll", "brier"):
        total = sum(group[name] * group["images"] for group in row["groups"].values())
        assert total / 300 == pytest.approx(row[name])
    renamed = row_of(logits[:, np.argsort(order)], order[targets], counts[np.argsort(order)])
    for name, group in row["groups"].items():
        assert renamed["groups"][name] == pytest.approx(group)


def test_intervals_are_asked_for_and_hold_the_value_of_what_is_a_mean() -> None:
    random = np.random.default_rng(1)
    targets = random.integers(3, size=200)
    logits = random.normal(size=(200, 3)) + 2 * np.eye(3)[targets]
    row = row_of(logits, targets, COUNTS, intervals=True)
    assert list(row["intervals"]) == list(METRICS)
    for name in ("accuracy", "nll", "brier", "balanced_accuracy"):
        low, high = row["intervals"][name]
        assert low < row[name] < high
    assert row["intervals"]["medium"] == [None, None]
    assert "intervals" not in row_of(logits, targets, COUNTS)


def test_the_tables_by_hand() -> None:
    row = row_of(np.log(PROBABILITIES), TARGETS, COUNTS)
    assert group_table([row]).splitlines() == [
        "group   classes  test images  top-1 %  ECE %    NLL",
        "------  -------  -----------  -------  -----  -----",
        "many          2            3    66.67  37.33  0.618",
        "medium        0            0        –      –      –",
        "few           1            1   100.00  39.00  0.494",
    ]
    both = group_table([row, {**row, "weights": "averaged"}]).splitlines()
    assert [line.split()[:2] for line in both[::3]] == [["group", "weights"], ["medium", "raw"], ["medium", "averaged"]]
    report = results.test_report([row], "abc", COUNTS, [2, 1, 1])
    first_words = [block.split()[0] for block in report.split("\n\n")]
    assert first_words == ["class", "group", "predictor"]
    row["intervals"] = {"accuracy": [0.25, 1.0], "ece": [0.1, 0.56789], "nll": [0, 9]}
    *_, line = results_table([row], first="distribution").splitlines()
    assert line.split()[:5] == ["uniform", "4", "75.00", "[25.00,", "100.00]"]
    assert line.endswith("[10.00, 56.79]")


def test_the_flag_of_tools_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", PROBABILITIES)
    np.save("y.npy", TARGETS)
    command = ["tools.score", "p.npy", "--labels", "y.npy", "--kind", "probabilities", "--home", "uniform"]
    ended = shell(*command, "--intervals", "--out", "out")
    assert (ended.code, ended.err) == (0, "")
    assert "75.00 [" in ended.out
    (row,) = json.loads(Path("out/results.json").read_text())["results"]
    assert row["intervals"]["accuracy"][0] <= 0.75 <= row["intervals"]["accuracy"][1]

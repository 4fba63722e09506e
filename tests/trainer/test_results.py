"""Results as files and as tables."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from trainer.evaluation.results import class_table, result_row, results_table, write_results
from utils.reporting.tables import percent, table

NAN = math.nan
SCORES = {
    "top1": 0.5,
    "balanced": 0.4,
    "many": 0.9,
    "medium": 0.25,
    "few": NAN,
    "ece": 0.0123,
    "mce": 0.3,
    "nll": 1.25,
    "per_class": [1.0, NAN, 0.125],
}


def row(distribution: str = "uniform", *, checkpoint: str = "checkpoint-epoch2.pth", **changes: Any) -> dict[str, Any]:
    facts = {"protocol": "shifts", "prior": "none", "predictor": "ensemble", "images": 10}
    scores = {**SCORES, **{name: changes.pop(name) for name in list(changes) if name in SCORES}}
    return result_row(scores, checkpoint=Path("runs") / checkpoint, distribution=distribution, **{**facts, **changes})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "results.json").read_text(encoding="utf8"))["results"]


def test_an_empty_group_is_null_in_json_empty_in_csv_and_a_dash_in_the_table(tmp_path: Path) -> None:
    write_results(tmp_path, [row()])
    text = (tmp_path / "results.json").read_text(encoding="utf8")
    assert "nan" not in text.lower()
    (read,) = rows_of(tmp_path)
    assert read["few"] is None
    assert read["per_class"] == [1.0, None, 0.125]
    with (tmp_path / "results.csv").open(newline="", encoding="utf8") as file:
        (line,) = csv.DictReader(file)
    assert line["few"] == ""
    assert float(line["many"]) == 0.9
    assert "per_class" not in line
    for shown in (results_table([row()], first="distribution"), class_table(row(), "abc", [9, 5, 1])):
        assert "–" in shown
        assert "nan" not in shown.lower()


def test_json_holds_every_score_with_all_its_digits(tmp_path: Path) -> None:
    write_results(tmp_path, [row(top1=1 / 3)])
    (read,) = rows_of(tmp_path)
    assert read["top1"] == 1 / 3
    assert {
        name: read[name] for name in ("checkpoint", "protocol", "prior", "distribution", "predictor", "images")
    } == {
        "checkpoint": "checkpoint-epoch2.pth",
        "protocol": "shifts",
        "prior": "none",
        "distribution": "uniform",
        "predictor": "ensemble",
        "images": 10,
    }


def test_rows_of_the_same_evaluation_are_replaced_and_all_others_kept(tmp_path: Path) -> None:
    write_results(tmp_path, [row("forward50"), row("uniform"), row("old name")])
    write_results(tmp_path, [row("uniform", prior="known")])
    write_results(tmp_path, [row("uniform", protocol="test")])
    write_results(tmp_path, [row("uniform", checkpoint="model_best.pth")])
    write_results(tmp_path, [row("forward50", top1=0.75), row("uniform", top1=0.625)])
    found = {(r["checkpoint"], r["protocol"], r["prior"], r["distribution"]): r["top1"] for r in rows_of(tmp_path)}
    assert found == {
        ("checkpoint-epoch2.pth", "shifts", "none", "old name"): 0.5,
        ("checkpoint-epoch2.pth", "shifts", "known", "uniform"): 0.5,
        ("checkpoint-epoch2.pth", "test", "none", "uniform"): 0.5,
        ("model_best.pth", "shifts", "none", "uniform"): 0.5,
        ("checkpoint-epoch2.pth", "shifts", "none", "forward50"): 0.75,
        ("checkpoint-epoch2.pth", "shifts", "none", "uniform"): 0.625,
    }
    with (tmp_path / "results.csv").open(newline="", encoding="utf8") as file:
        lines = list(csv.DictReader(file))
    assert [line["distribution"] for line in lines] == [r["distribution"] for r in rows_of(tmp_path)]
    assert [float(line["top1"]) for line in lines] == [r["top1"] for r in rows_of(tmp_path)]


def test_two_sweeps_of_a_checkpoint_stand_side_by_side_in_the_order_of_report(tmp_path: Path) -> None:
    write_results(tmp_path, [row(name) for name in ("forward50", "forward5", "uniform", "backward5", "backward50")])
    write_results(tmp_path, [row("uniform", protocol="test", predictor=who) for who in ("ensemble", "expert 0")])
    write_results(tmp_path, [row(name, top1=0.75) for name in ("forward6", "uniform", "backward6")])
    shifts = ["forward50", "forward6", "forward5", "uniform", "backward5", "backward6", "backward50"]
    found = rows_of(tmp_path)
    assert [r["distribution"] for r in found] == [*shifts, "uniform", "uniform"]
    assert [r["predictor"] for r in found[-2:]] == ["ensemble", "expert 0"]
    assert {r["distribution"] for r in found if r["top1"] == 0.75} == {"forward6", "uniform", "backward6"}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"results": 3}', '{"other": []}', '{"results": ["x", null]}', "\xff"]
)
def test_a_file_that_is_not_ours_is_no_obstacle(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_bytes(content.encode("latin1"))
    write_results(tmp_path, [row()])
    assert len(rows_of(tmp_path)) == 1


def test_nan_that_another_program_wrote_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"results": [{"checkpoint": "other.pth", "few": NaN}]}')
    write_results(tmp_path, [row()])
    assert [r["few"] for r in rows_of(tmp_path)] == [None, None]


def test_the_table_is_aligned_the_first_column_to_the_left_the_others_to_the_right() -> None:
    shown = table(["who", "n", "score %"], [["ensemble", "5", "33.60"], ["e0", "1000", "–"]])
    assert shown.splitlines() == [
        "who          n  score %",
        "--------  ----  -------",
        "ensemble     5    33.60",
        "e0        1000        –",
    ]


def test_the_results_table_by_hand() -> None:
    shown = results_table([row("forward50"), row("uniform", images=12345)], first="distribution")
    assert shown.splitlines() == [
        "distribution  images  top-1 %  balanced %  many %  medium %  few %  ECE %",
        "------------  ------  -------  ----------  ------  --------  -----  -----",
        "forward50         10    50.00       40.00   90.00     25.00      –   1.23",
        "uniform        12345    50.00       40.00   90.00     25.00      –   1.23",
    ]


def test_the_class_table_by_hand() -> None:
    assert class_table(row(), ["plane", "car", "bird"], [120, 7, 3]).splitlines() == [
        "class  training images  accuracy %",
        "-----  ---------------  ----------",
        "plane              120      100.00",
        "car                  7           –",
        "bird                 3       12.50",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (1.0, "100.00"), (0.12346, "12.35"), (None, "–"), (NAN, "–")]
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text

"""Results as files and as tables."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from model.metrics import METRICS, LabelledLogits, set_metric
from tests.odd_files import ODD_KINDS, put_odd
from trainer.evaluation.result_files import repair_results, write_results
from trainer.evaluation.results import class_table, result_row, results_table
from utils.errors import UserError
from utils.files.writing import write_text
from utils.reporting.tables import decimal, percent, table

NAN = math.nan
OURS = {
    "accuracy": 0.5,
    "top_k_acc": 0.875,
    "balanced_accuracy": 0.4,
    "many": 0.9,
    "medium": 0.25,
    "few": NAN,
    "ece": 0.0123,
    "mce": 0.3,
    "nll": 1.25,
}
SCORES = {**dict.fromkeys(METRICS, 0.5), **OURS, "per_class": [1.0, NAN, 0.125]}


def row(
    distribution: str = "uniform",
    *,
    checkpoint: str = "checkpoint-epoch2.pth",
    protocol: str = "shifts",
    weights: str = "raw",
    data: str = "",
    **changes: Any,
) -> dict[str, Any]:
    scores = {
        "prior": "none",
        "calibration": "none",
        "distribution": distribution,
        "predictor": "ensemble",
        "images": 10,
        **SCORES,
        **changes,
    }
    return result_row(scores, checkpoint=Path("runs") / checkpoint, protocol=protocol, weights=weights, data=data)


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
    for shown in (results_table([row()], first="distribution"), class_table([row()], "abc", [9, 5, 1], [2, 0, 8])):
        assert "–" in shown
        assert "nan" not in shown.lower()


def test_json_holds_every_score_with_all_its_digits(tmp_path: Path) -> None:
    write_results(tmp_path, [row(accuracy=1 / 3)])
    (read,) = rows_of(tmp_path)
    assert read["accuracy"] == 1 / 3
    assert {name: value for name, value in read.items() if name not in SCORES} == {
        "checkpoint": "checkpoint-epoch2.pth",
        "protocol": "shifts",
        "weights": "raw",
        "prior": "none",
        "calibration": "none",
        "distribution": "uniform",
        "predictor": "ensemble",
        "images": 10,
    }


def test_rows_of_the_same_evaluation_are_replaced_and_all_others_kept(tmp_path: Path) -> None:
    write_results(tmp_path, [row("forward50"), row("uniform"), row("old name")])
    write_results(tmp_path, [row("uniform", prior="posthoc")])
    write_results(tmp_path, [row("uniform", protocol="test")])
    write_results(tmp_path, [row("uniform", checkpoint="model_best.pth")])
    write_results(tmp_path, [row("forward50", accuracy=0.75), row("uniform", accuracy=0.625)])
    read = {(r["checkpoint"], r["protocol"], r["prior"], r["distribution"]): r["accuracy"] for r in rows_of(tmp_path)}
    assert read == {
        ("checkpoint-epoch2.pth", "shifts", "none", "old name"): 0.5,
        ("checkpoint-epoch2.pth", "shifts", "posthoc", "uniform"): 0.5,
        ("checkpoint-epoch2.pth", "test", "none", "uniform"): 0.5,
        ("model_best.pth", "shifts", "none", "uniform"): 0.5,
        ("checkpoint-epoch2.pth", "shifts", "none", "forward50"): 0.75,
        ("checkpoint-epoch2.pth", "shifts", "none", "uniform"): 0.625,
    }
    with (tmp_path / "results.csv").open(newline="", encoding="utf8") as file:
        lines = list(csv.DictReader(file))
    assert [line["distribution"] for line in lines] == [r["distribution"] for r in rows_of(tmp_path)]
    assert [float(line["accuracy"]) for line in lines] == [r["accuracy"] for r in rows_of(tmp_path)]


def test_rows_of_other_data_stand_beside_the_first_and_those_that_name_none_are_kept(tmp_path: Path) -> None:
    both = ("forward50", "uniform")
    write_results(tmp_path, [row(name, accuracy=0.1) for name in both])  # as an earlier version did
    write_results(tmp_path, [row(name, accuracy=0.2, data="CIFAR-10 00112233") for name in both])
    write_results(tmp_path, [row(name, accuracy=0.3, data="other 44556677") for name in both])
    write_results(tmp_path, [row("uniform", accuracy=0.4, data="CIFAR-10 00112233")])
    assert [(r.get("data"), r["distribution"], r["accuracy"]) for r in rows_of(tmp_path)] == [
        (None, "forward50", 0.1),
        (None, "uniform", 0.1),
        ("CIFAR-10 00112233", "forward50", 0.2),
        ("CIFAR-10 00112233", "uniform", 0.4),
        ("other 44556677", "forward50", 0.3),
        ("other 44556677", "uniform", 0.3),
    ]
    with (tmp_path / "results.csv").open(newline="", encoding="utf8") as file:
        lines = list(csv.DictReader(file))
    assert [line["data"] for line in lines] == ["", "", *["CIFAR-10 00112233"] * 2, *["other 44556677"] * 2]


def test_two_sweeps_of_a_checkpoint_stand_side_by_side_in_the_order_of_report(tmp_path: Path) -> None:
    write_results(tmp_path, [row(name) for name in ("forward50", "forward5", "uniform", "backward5", "backward50")])
    write_results(tmp_path, [row("uniform", protocol="test", predictor=who) for who in ("ensemble", "expert 0")])
    write_results(tmp_path, [row(name, accuracy=0.75) for name in ("forward6", "uniform", "backward6")])
    shifts = ["forward50", "forward6", "forward5", "uniform", "backward5", "backward6", "backward50"]
    read = rows_of(tmp_path)
    assert [r["distribution"] for r in read] == [*shifts, "uniform", "uniform"]
    assert [r["predictor"] for r in read[-2:]] == ["ensemble", "expert 0"]
    assert {r["distribution"] for r in read if r["accuracy"] == 0.75} == {"forward6", "uniform", "backward6"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"results": 3}', '{"other": []}', "\xff", "[" * 100_000])
def test_a_file_that_is_not_ours_is_renamed_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "results.json").write_bytes(content.encode("latin1"))
    write_results(tmp_path, [row()])
    write_results(tmp_path, [row()])
    assert len(rows_of(tmp_path)) == 1
    assert (tmp_path / "results.json.1").read_bytes() == content.encode("latin1")
    assert [record.getMessage() for record in caplog.records] == [
        f"warning: {tmp_path / 'results.json'}: holds no results of ours; renamed to results.json.1"
    ]


def test_entries_that_are_no_rows_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"results": ["x", null]}')
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


def test_the_results_table_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.results.METRICS", {name: METRICS[name] for name in OURS})
    shown = results_table([row("forward50"), row("uniform", images=12345)], first="distribution")
    assert shown.splitlines() == [
        "distribution  images  top-1 %  top-5 %  balanced %  many %  medium %  few %  ECE %",
        "------------  ------  -------  -------  ----------  ------  --------  -----  -----",
        "forward50         10    50.00    87.50       40.00   90.00     25.00      –   1.23",
        "uniform        12345    50.00    87.50       40.00   90.00     25.00      –   1.23",
    ]


def test_averaged_weights_have_rows_of_their_own_and_a_column_that_tells_them_apart(tmp_path: Path) -> None:
    rows = [row(), row(weights="averaged", accuracy=0.75)]
    write_results(tmp_path, rows)
    write_results(tmp_path, [row(weights="averaged", accuracy=0.625)])
    assert {r["weights"]: r["accuracy"] for r in rows_of(tmp_path)} == {"raw": 0.5, "averaged": 0.625}
    shown = [line.split()[:4] for line in results_table(rows, first="distribution").splitlines()]
    assert shown[0] == ["distribution", "weights", "images", "top-1"]
    assert shown[2:] == [["uniform", "raw", "10", "50.00"], ["uniform", "averaged", "10", "75.00"]]
    classes = class_table([row(), row(weights="averaged", per_class=[0.5, 0.25, NAN])], "abc", [9, 5, 1], [2, 0, 8])
    assert [line.split() for line in classes.splitlines()][2:] == [
        ["a", "9", "2", "100.00", "50.00"],
        ["b", "5", "0", "–", "25.00"],
        ["c", "1", "8", "12.50", "–"],
    ]
    assert classes.splitlines()[0].split()[-4:] == ["raw", "%", "averaged", "%"]


def test_rows_of_an_earlier_version_count_as_raw_and_take_todays_names(tmp_path: Path) -> None:
    facts = {"checkpoint": "checkpoint-epoch2.pth", "protocol": "shifts", "prior": "none", "predictor": "ensemble"}
    scores = {"images": 10, "top1": 0.25, "balanced": 0.125, "per_class": [0.25]}
    earlier = [{**facts, "distribution": name, **scores} for name in ("forward50", "uniform")]
    (tmp_path / "results.json").write_text(json.dumps({"results": earlier}))
    write_results(tmp_path, [row("uniform")])
    forward, uniform = rows_of(tmp_path)
    assert (forward["weights"], forward["accuracy"], forward["balanced_accuracy"]) == ("raw", 0.25, 0.125)
    assert not {"top1", "balanced"} & set(forward)
    assert uniform == row("uniform")
    with (tmp_path / "results.csv").open(newline="", encoding="utf8") as file:
        lines = list(csv.DictReader(file))
    assert [line["ece"] for line in lines] == ["", "0.0123"]


def test_a_metric_that_is_registered_is_in_table_json_and_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @set_metric("Sharpness", percent=False, higher_is_better=False)
    def sharpness(labelled: LabelledLogits) -> float:
        return 0.0

    monkeypatch.setitem(METRICS, "sharpness", sharpness)
    write_results(tmp_path, [row(sharpness=0.12345)])
    assert rows_of(tmp_path)[0]["sharpness"] == 0.12345
    with (tmp_path / "results.csv").open(newline="", encoding="utf8") as file:
        assert [line["sharpness"] for line in csv.DictReader(file)] == ["0.12345"]
    header, _, line = results_table([row(sharpness=0.12345)], first="distribution").splitlines()
    assert (header.split()[-1], line.split()[-1]) == ("Sharpness", "0.123")


def test_columns_of_the_csv_are_those_of_the_rows_the_registrys_in_its_order(tmp_path: Path) -> None:
    write_results(tmp_path, [row(remark=1)])
    header = (tmp_path / "results.csv").read_text(encoding="utf8").splitlines()[0].split(",")
    question = [
        "checkpoint",
        "data",
        "protocol",
        "weights",
        "prior",
        "calibration",
        "distribution",
        "predictor",
        "home",
        "selection",
        "images",
    ]
    assert header == [*question, *METRICS, "remark"]


def test_the_class_table_by_hand() -> None:
    assert class_table([row()], ["plane", "car", "bird"], [120, 7, 3], [10, 0, 8]).splitlines() == [
        "class  training images  test images  accuracy %",
        "-----  ---------------  -----------  ----------",
        "plane              120           10      100.00",
        "car                  7            0           –",
        "bird                 3            8       12.50",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (1.0, "100.00"), (0.12346, "12.35"), (None, "–"), (NAN, "–")]
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.000"), (1.2346, "1.235"), (None, "–"), (NAN, "–")])
def test_decimal(value: float | None, text: str) -> None:
    assert decimal(value) == text


def test_a_correction_of_before_homes_were_known_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"results": [row("uniform", prior="known")]}), encoding="utf8")
    write_results(tmp_path, [row("uniform", prior="known", home="training")])
    assert [line["prior"] for line in rows_of(tmp_path)] == ["posthoc", "known"]


# -- several writers, killed writers, folders that can't be written to -------------------------------------------------


def csv_rows(folder: Path) -> list[tuple[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf8") as file:
        return [(line["checkpoint"], line["accuracy"]) for line in csv.DictReader(file)]


def _enter_rows(folder: Path, writer: int) -> None:
    for number in range(15):
        write_results(folder, [row(checkpoint=f"checkpoint-epoch{writer}.pth", predictor=f"expert {number}")])


def test_evaluations_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_enter_rows, args=(tmp_path, writer)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert len({(line["checkpoint"], line["predictor"]) for line in rows_of(tmp_path)}) == 60
    assert len(csv_rows(tmp_path)) == 60


def test_a_writer_killed_between_the_two_files_is_made_good_at_the_next_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(tmp_path, [row(accuracy=0.25)])
    whole = (tmp_path / "results.csv").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        written: list[Path] = []

        def killed_at_the_second(path: Path, text: str) -> None:
            if written:
                path.with_name(f".{path.name}.abc").write_text(text[:20])
                raise KeyboardInterrupt
            written.append(path)
            write_text(path, text)

        patch.setattr("trainer.evaluation.result_files.write_text", killed_at_the_second)
        write_results(tmp_path, [row(accuracy=0.75, checkpoint="checkpoint-epoch3.pth")])
    assert (tmp_path / "results.csv").read_bytes() == whole
    repair_results(tmp_path)
    assert csv_rows(tmp_path) == [("checkpoint-epoch2.pth", "0.25"), ("checkpoint-epoch3.pth", "0.75")]
    assert not list(tmp_path.glob(".results.*.abc"))
    stamp = (tmp_path / "results.csv").stat().st_mtime_ns
    repair_results(tmp_path)
    assert (tmp_path / "results.csv").stat().st_mtime_ns == stamp, "what is right is not written again"


def test_nothing_is_made_where_there_is_nothing_to_repair(tmp_path: Path) -> None:
    repair_results(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "results.json").write_text("not ours")
    repair_results(tmp_path)
    assert not (tmp_path / "results.csv").exists()


@pytest.mark.parametrize("name", ["results.json", ".writing.lock"])
def test_a_folder_in_the_way_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=str(tmp_path)):
        write_results(tmp_path, [row()])


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_neither_waited_for_nor_replaced(tmp_path: Path, kind: str) -> None:
    """A link that leads nowhere is no result of anybody's."""
    put_odd(tmp_path / "results.json", kind)
    repair_results(tmp_path)
    if kind in ("loop", "dangling"):
        write_results(tmp_path, [row()])
        assert len(rows_of(tmp_path)) == 1
    else:
        with pytest.raises(UserError, match=rf"results\.json: can't be read as a file of results: {ODD_KINDS[kind]}"):
            write_results(tmp_path, [row()])


def test_in_the_way_of_the_csv_it_costs_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put_odd(tmp_path / "results.csv", "pipe")
    for number in (1, 2):
        repair_results(tmp_path)
        assert write_results(tmp_path, [row(f"forward{number}")]) == [tmp_path / "results.json"]
        assert len(rows_of(tmp_path)) == number
        assert "results.csv: can't be written: a pipe is in the way" in caplog.messages[-1]
    (tmp_path / "results.csv").unlink()
    repair_results(tmp_path)
    assert len(csv_rows(tmp_path)) == 2

"""The campaign of odd input: it runs, it finds what it looks for, and a case can be run again alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.odd_input_campaign.cases import Case, Outcome, fault_of
from tests.forks import QUICK, Fork
from tests.scripts.command_line import Ended

CASES = 8  # of each kind


def campaign(*flags: str) -> Ended:
    return Fork("module", "benchmarks.odd_input_campaign", *flags, before=QUICK).end(timeout=600)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("campaign") / "report.json"
    counts = [flag for kind in ("configs", "checkpoints", "files") for flag in (f"--{kind}", str(CASES))]
    done = campaign(*counts, "--seed", "6", "--seconds", "200", "--out", str(file))
    assert done.code == 0, done.out + done.err
    return json.loads(file.read_text(encoding="utf8"))


def test_all_kinds_of_odd_input_are_decided_as_documented(report: dict[str, Any]) -> None:
    assert [row["fault"] for row in report["cases"]] == [""] * (3 * CASES)
    for kind, figures in report["figures"].items():
        assert figures["cases"] == figures["legal"] + figures["illegal"] + figures["open"] == CASES, kind


def test_each_case_says_what_was_done_and_ended_by_its_verdict(report: dict[str, Any]) -> None:
    for row in report["cases"]:
        assert row["what"]
        if row["legal"] is not None:
            assert (row["code"] == 0) == row["legal"], row
        if row["code"] == 2:
            assert any(line.startswith("error: ") for line in row["stderr"].splitlines()), row


def judged(case: Case, folder: Path, *, code: int | None, stdout: str = "", stderr: str = "error: x\n") -> str:
    return fault_of(case, Outcome(code=code, seconds=1.0, stdout=stdout, stderr=stderr), folder)


def test_what_is_wrong_with_an_outcome_is_told(tmp_path: Path) -> None:
    legal, illegal, open_ = (Case(what="x", legal=legal, command="train") for legal in (True, False, None))
    trace = "Traceback (most recent call last):\n  …"
    assert judged(legal, tmp_path, code=0, stderr="") == ""
    assert judged(legal, tmp_path, code=2) == "legal refused: exit code 2"
    assert judged(legal, tmp_path, code=0, stderr=trace) == "traceback: exit code 0"
    assert judged(legal, tmp_path, code=-11) == "traceback: exit code -11"
    assert judged(illegal, tmp_path, code=2) == ""
    assert judged(illegal, tmp_path, code=0) == "illegal accepted: exit code 0"
    assert judged(illegal, tmp_path, code=1) == "illegal accepted: exit code 1"
    assert judged(illegal, tmp_path, code=2, stderr="") == "untidy: no line says what is wrong"
    broken = judged(illegal, tmp_path, code=2, stderr="error: a\nb: is missing\n")
    assert broken == "untidy: a line of its own for a part of what is wrong"
    assert judged(illegal, tmp_path, code=2, stderr="checking\nerror: x\nerror: y\n") == ""
    assert judged(illegal, tmp_path, code=None) == "hang"
    assert judged(open_, tmp_path, code=0) == judged(open_, tmp_path, code=2) == ""
    assert judged(open_, tmp_path, code=1) == "untidy: exit code 1"


def test_what_a_refused_case_has_left_or_broken_is_told(tmp_path: Path) -> None:
    case = Case(what="x", legal=False, command="train", absent=("runs/*",))
    (tmp_path / "runs").mkdir()
    assert judged(case, tmp_path, code=2) == ""
    (tmp_path / "runs/new").mkdir()
    assert judged(case, tmp_path, code=2).startswith("illegal accepted: there is ")
    case = Case(what="x", legal=True, command="test", json_files=("results.json",))
    (tmp_path / "results.json").write_text('{"results": [NaN]}')
    assert judged(case, tmp_path, code=0) == "untidy: results.json is no JSON afterwards: NaN is no JSON"

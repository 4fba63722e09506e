"""`python -m tools.runs`: what runs are there, whatever state they are in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.command_line import Shell
from tests.tools.runs_by_hand import make_run
from trainer.summary.listing import COLUMNS


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs: one of two tested checkpoints, one of a single expert, one that was never tested."""
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, Any]] = [
        {"accuracy": 0.75, "checkpoint": "checkpoint-epoch1.pth"},
        {"accuracy": 0.5},
        {"accuracy": 0.625, "weights": "averaged"},
        *({"accuracy": 0.99, **other} for other in ({"prior": "em"}, {"calibration": "ts"}, {"predictor": "expert 0"})),
        {"accuracy": 0.98, "protocol": "shifts"},
    ]
    make_run(Path("saved/a/2"), 2, rows, name="mine")
    (Path("saved/a/2") / "checkpoint-epoch1.pth").touch()
    make_run(Path("saved/b/1"), 1, [{"accuracy": 0.6}], epoch=10, name="Single", arch__args__num_experts=1)
    make_run(Path("saved/c"), 3, [], epoch=1, name="new")
    Path("saved/c/results.json").unlink()
    return Path("saved")


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[2:]]


def test_it_lists_what_there_is(saved: Path, shell: Shell) -> None:
    ended = shell("tools.runs", saved)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[0].replace(" %", "").split() == COLUMNS[:-1]
    data = ["ImbalanceDigits", "0.1"]
    assert rows_of(ended.out) == [
        *(["mine", "2026-01-02", "10:00", "2", "BSExpertLoss", "×", "2", *data, "2/2", "75.00", "50.00", "saved/a/2"],),
        *(["Single", "2026-01-01", "10:00", "1", "BSExpertLoss", *data, "10/2", "60.00", "60.00", "saved/b/1"],),
        *(["new", "2026-01-03", "10:00", "3", "BSExpertLoss", "×", "2", *data, "1/2", "–", "–", "saved/c"],),
    ]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--sort", "last"], ["Single", "mine", "new"]),
        (["--sort", "best"], ["mine", "Single", "new"]),
        (["--sort", "date"], ["new", "mine", "Single"]),
        (["--sort", "epochs"], ["Single", "mine", "new"]),  # as numbers
        (["--sort", "seed"], ["Single", "mine", "new"]),
        (["--sort", "path"], ["mine", "Single", "new"]),
        (["--filter", "name=single"], ["Single"]),
        (["--filter", "method=*× 2"], ["mine", "new"]),
        (["--filter", "method=*× 2", "--filter", "seed=3"], ["new"]),
        (["--filter", "last=–"], ["new"]),
        (["--filter", "seed=9"], []),
    ],
)
def test_it_sorts_and_filters(flags: list[str], names: list[str], saved: Path, shell: Shell) -> None:
    assert [row[0] for row in rows_of(shell("tools.runs", saved, *flags).out)] == names


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", None, "config.json: no such"),
        ("config.json", "{", "config.json: "),
        ("config.json", "{}", "config.json: can't be read (it lacks the key name)"),
        ("config.json", '{"name": "x", "trainer": 3}', "config.json: can't be read"),
        ("run.json", None, "run.json: no such record of a run"),
        ("run.json", '{"processes": []}', "run.json: can't be read"),
        ("run.json", '{"processes": [{"started": 3}]}', "run.json: can't be read"),
        ("results.json", "half", "results.json: can't be read"),
        ("results.json", '{"results": [3]}', "results.json: can't be read"),
        ("results.json", '{"results": [{"protocol": "test", "predictor": "ensemble"}]}', "results.json: can't be read"),
    ],
)
def test_a_damaged_run_is_listed_with_what_is_wrong(
    file: str, content: str | None, told: str, saved: Path, shell: Shell
) -> None:
    path = saved / "a" / "2" / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    ended = shell("tools.runs", saved)
    assert (ended.code, ended.err) == (0, "")
    (line,) = [line for line in ended.out.splitlines() if "saved/a/2" in line]
    assert told in line
    assert len(rows_of(ended.out)) == 3
    assert rows_of(shell("tools.runs", saved, "--filter", "problems=?*").out) == [line.split()]


def test_a_folder_of_checkpoints_alone_is_listed(saved: Path, shell: Shell) -> None:
    Path("saved/d").mkdir()
    Path("saved/d/checkpoint-epoch7.pth").touch()
    (line,) = [line for line in shell("tools.runs", saved).out.splitlines() if "saved/d" in line]
    assert " 7 " in line
    assert "config.json: no such" in line


def test_results_of_earlier_versions_count(saved: Path, shell: Shell) -> None:
    row = {"checkpoint": "checkpoint-epoch2.pth", "protocol": "test", "predictor": "ensemble", "top1": 0.25}
    Path("saved/c/results.json").write_text(json.dumps({"results": [{**row, "prior": "none"}]}))
    assert rows_of(shell("tools.runs", saved).out)[2][-3:] == ["25.00", "25.00", "saved/c"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["saved/c/run.json"], "is no folder"),
        (["saved", "--sort", "sead"], "did you mean 'seed'"),
        (["saved", "--filter", "seed"], "expected COLUMN=VALUE"),
        (["saved", "--filter", "colour=red"], "no such column"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: list[str], told: str, saved: Path, shell: Shell) -> None:
    ended = shell("tools.runs", *arguments)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert told in ended.err

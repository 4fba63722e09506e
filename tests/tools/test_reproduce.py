"""A run says what it came from, and how it is repeated."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.scripts.command_line import Shell, the_run
from tests.trainer.small_runs import small_config
from tools import reproduce
from utils.errors import UserError
from utils.provenance import RUN_FACTS_NAME, differences, read_processes


@pytest.fixture
def trained(tmp_path: Path, shell: Shell) -> Path:
    (tmp_path / "small.json").write_text(json.dumps(small_config(trainer__epochs=1)))
    assert shell("train.py", "-c", tmp_path / "small.json", "--save_dir", tmp_path / "saved", "--seed", "3").code == 0
    return the_run(tmp_path / "saved")


def answer(run: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    patch.setattr(sys, "argv", ["reproduce", str(run)])
    capsys.readouterr()
    reproduce.main()
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_a_run_keeps_what_it_depends_on(trained: Path) -> None:
    (process,) = read_processes(trained)
    assert process["seed"] == 3
    assert process["command"].startswith("python train.py -c ")
    assert process["command"].endswith("--seed 3")
    assert {"commit", "python", "packages", "device", "started"} <= process.keys()
    assert {"torch", "torchvision", "numpy", "pandas"} <= process["packages"].keys()


def test_every_process_that_worked_on_a_run_is_listed(trained: Path, shell: Shell) -> None:
    assert shell("train.py", "-r", trained / "checkpoint-epoch1.pth").code == 0
    assert [process["command"].split()[2] for process in read_processes(trained)] == ["-c", "-r"]


def test_the_printed_command_repeats_the_run(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: Shell
) -> None:
    out, err = answer(trained, monkeypatch, capsys)
    assert err == ""
    command = out.strip().split()
    assert command == ["python", "train.py", "-c", str(trained / "config.json")]
    first = (trained / "checkpoint-epoch1.pth").read_bytes()
    assert shell(*command[1:]).code == 0
    (again,) = [path for path in trained.parent.iterdir() if path != trained]
    assert (again / "checkpoint-epoch1.pth").read_bytes() == first


def test_what_a_run_began_from_is_part_of_the_command(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: Shell
) -> None:
    """Another run's checkpoint is; its own, or that it looks for one, is not."""
    checkpoint = trained / "checkpoint-epoch1.pth"
    assert shell("train.py", f"--resume={checkpoint}", "--epochs", "2", "--name", "longer").code == 0
    longer = the_run(trained.parents[2], "longer")
    out, _ = answer(longer, monkeypatch, capsys)
    assert out.split() == ["python", "train.py", "-c", f"{longer}/config.json", "-r", str(checkpoint)]
    assert reproduce.origin([{"command": f"python train.py -r {checkpoint}"}], trained) == []
    assert reproduce.origin([{"command": "python train.py -c small.json -r auto"}], trained) == []


def test_a_damaged_record_is_one_line(trained: Path) -> None:
    for text in ("", "[]", "{}", '{"processes": []}', '{"processes": [3]}'):
        (trained / RUN_FACTS_NAME).write_text(text)
        with pytest.raises(UserError, match="can't be read"):
            read_processes(trained)


def test_what_has_changed_since_is_warned_of(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / RUN_FACTS_NAME
    facts = json.loads(path.read_text(encoding="utf8"))
    facts["processes"][0]["packages"]["torch"] = "1.0.0"
    facts["processes"][0]["commit"] = "0" * 40
    path.write_text(json.dumps(facts))
    out, err = answer(trained, monkeypatch, capsys)
    assert "warning: torch: 1.0.0 then, " in err
    assert f"warning: commit: {'0' * 40} then, " in err
    assert out.startswith(f"git checkout {'0' * 40}\n")


def test_nothing_differs_from_itself(trained: Path) -> None:
    (process,) = read_processes(trained)
    assert differences(process, process) == []


def test_a_folder_that_is_no_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is .* the folder of a run"):
        read_processes(tmp_path)

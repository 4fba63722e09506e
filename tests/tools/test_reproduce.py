"""A run says what it came from, and how it is repeated."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts.command_line import Shell, the_run
from tests.trainer.small_runs import small_config
from tools import convert_checkpoint, reproduce
from utils.errors import UserError
from utils.files.provenance import RUN_FACTS_NAME, differences, read_processes

pytestmark = pytest.mark.usefixtures("_quick_throughout")


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
    assert err == "Nothing has changed since that run.\n"
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
    assert "warning: torch: was 1.0.0, is now " in err
    assert f"warning: commit: was {'0' * 40}, is now " in err
    assert out.startswith(f"git checkout {'0' * 40}\n")


def test_nothing_differs_from_itself(trained: Path) -> None:
    (process,) = read_processes(trained)
    assert differences(process, process) == []


def test_a_folder_that_is_no_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is .* the folder of a run"):
        read_processes(tmp_path)


def rewrite_processes(run: Path, *changes: dict[str, object]) -> None:
    """Let the only process of a run become one for each of `changes`."""
    path = run / RUN_FACTS_NAME
    (process,) = read_processes(run)
    path.write_text(json.dumps({"processes": [process | change for change in changes]}))


def test_a_run_of_several_processes_is_repeated_by_as_many(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite_processes(trained, {"at_once": 2, "cpu_threads": 77})  # torchrun sets the threads
    out, err = answer(trained, monkeypatch, capsys)
    assert out == f"torchrun --standalone --nproc_per_node=2 train.py -c {trained}/config.json\n"
    assert err == "Nothing has changed since that run.\n"


def test_a_run_whose_processes_differ_in_number_is_repeated_as_it_began_and_warned_of(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite_processes(trained, {"at_once": 4}, {"at_once": 4}, {"at_once": 1})
    out, err = answer(trained, monkeypatch, capsys)
    assert out.startswith("torchrun --standalone --nproc_per_node=4 train.py ")
    assert err == "warning: number of processes changed during the run (4, then 1); the command uses 4\n"


def test_a_checkpoint_stands_for_its_run(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(trained / "checkpoint-epoch1.pth", monkeypatch, capsys) == answer(trained, monkeypatch, capsys)


@pytest.mark.parametrize("tool", [reproduce, convert_checkpoint])
def test_help_names_the_command_as_it_is_called(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["file.py", "--help"])
    with pytest.raises(SystemExit):
        tool.main()
    assert capsys.readouterr().out.startswith(f"usage: python -m {tool.__name__} ")

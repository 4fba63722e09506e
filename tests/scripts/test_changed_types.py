"""A flag that changes a section's type and leaves the old type's arguments there: told, with the command that works."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.scripts.command_line import Shell, the_run
from tests.trainer.small_runs import small_config


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.json").write_text(json.dumps(small_config(trainer__epochs=1, trainer__save_dir="saved")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--set", "loss.type=CrossEntropyLoss"), ["loss.args: CrossEntropyLoss has no tau_list"]),
        (("--set", "optimizer.type=Adam", "--lr", "0.001"), ["optimizer.args: Adam has no momentum, nesterov"]),
        (
            ("--set", "lr_scheduler.type=StepLR"),
            ["lr_scheduler.args: StepLR has no step1, step2", "lr_scheduler.args.step_size: is missing"],
        ),
        (("--set", "loss.type=CrossEntropyLoss", "--tau_list", "1"), ["loss.args.tau_list: unknown key"]),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else None,
)
def test_a_type_that_is_changed_alone_leaves_no_arguments_behind_in_silence(
    shell: Shell, place: Path, flags: tuple[str, ...], told: list[str]
) -> None:
    ended = shell("train.py", "-c", "small.json", *flags)
    lines = ended.err.splitlines()
    assert ended.code == 2
    assert [line.startswith(f"error: {begin}") for line, begin in zip(lines, told, strict=True)] == [True] * len(told)


def test_the_line_about_a_changed_type_has_the_command_that_works(shell: Shell, place: Path) -> None:
    changed = ("--set", "optimizer.type=Adam", "--lr", "0.001", "--set", "trainer.save_dir=adam")
    (line,) = shell("train.py", "-c", "small.json", *changed).err.splitlines()
    advised = shlex.split(line.partition("to replace the whole section: ")[2].partition(" (in ")[0])
    assert advised == ["--set", 'optimizer={"type": "Adam", "args": {"lr": 0.001, "weight_decay": 0.0005}}']
    advised[1] = advised[1].replace("0.001", "0.5")  # the flag for a key comes after the section around it
    assert shell("train.py", "-c", "small.json", *advised, *changed[2:]).code == 0
    assert json.loads((the_run(place / "adam") / "config.json").read_text())["optimizer"] == {
        "type": "Adam",
        "args": {"lr": 0.001, "weight_decay": 0.0005},
    }

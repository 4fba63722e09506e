"""Several runs by one command: which, on which GPUs, and what becomes of those that fail or are stopped."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import torch

import train
from base import RunState
from tests.scripts.command_line import files_below
from tests.trainer.several_runs import Several
from tests.trainer.small_runs import small_config
from trainer.config.run_config import run_config
from trainer.many_runs.flags import asked_for, split_values
from trainer.many_runs.here import shares_of, visible_gpus
from trainer.many_runs.planned_run import PlannedRun
from utils.config.overrides import read_overrides
from utils.config.parser import ConfigParser
from utils.distributed.environment import LaunchEnvironment
from utils.errors import UserError
from utils.files.checkpoint import save_checkpoint
from utils.files.locks import take_lock


def test_every_combination_is_trained_with_every_seed_and_the_summary_is_named(several: Several) -> None:
    ended = several("--seed", 1, 2, "--sweep", "optimizer.args.lr=0.05,0.1")
    assert (ended.code, ended.err) == (0, "")
    assert several.started() == ["1 0.05 -", "2 0.05 -", "1 0.1 -", "2 0.1 -"]
    assert re.search(r"^run 4 of 4 done after [\d:]+: seed=2 optimizer.args.lr=0.1$", ended.out, re.MULTILINE)
    assert f"Compare them: python -m tools.summary {several.runs}\n" in ended.out
    assert ended.out.count("checkpoint-epoch2.pth") == 4


def test_the_same_command_skips_what_is_finished_and_starts_what_is_new(several: Several) -> None:
    assert several("--seed", 1, 2).code == 0
    again = several("--seed", 1, 2, 3)
    assert again.code == 0
    assert "2 of 3 runs are finished already." in again.out
    assert several.started() == ["1 0.05 -", "2 0.05 -", "3 0.05 -"]


def test_a_run_that_fails_costs_no_other_and_is_told_in_a_line(several: Several) -> None:
    ended = several("--seed", 13, 1, 14, 2)
    assert ended.code == 1
    assert [line.split()[0] for line in several.started()] == ["13", "1", "14", "2"]
    first, second = ended.out.splitlines()[-2:]
    assert first.startswith("failed: seed=13: error: the loss is nan (see ")
    assert second.startswith("failed: seed=14: exit code 137 (see ")
    assert re.search(r"^run 3 of 4 failed after [\d:]+: seed=14", ended.out, re.MULTILINE)
    others = [path for path in several.runs.glob("2*") if not list(path.glob("*.pth"))]
    assert len(others) == 2  # so the folder around them is not what is to be compared
    assert f"tools.summary {several.runs}\n" not in ended.out


def test_a_log_that_cannot_be_written_is_a_failure_of_its_run_alone(several: Several) -> None:
    assert several("--seed", 1, 2).code == 0
    for folder in several.runs.glob("2*"):
        (folder / "checkpoint-epoch2.pth").unlink()
    (log,) = several.runs.glob("several/seed=1-*.log")
    log.unlink()
    log.mkdir()
    ended = several("--seed", 1, 2)
    assert ended.code == 1
    assert ended.out.splitlines()[-1].startswith("failed: seed=1: can't be started: Is a directory")
    assert several.started()[2:] == ["2 0.05 -"]


def test_a_signal_stops_the_runs_with_their_checkpoints_and_the_same_command_goes_on(several: Several) -> None:
    thread = several.once_one_waits(lambda parent: os.kill(os.getpid(), signal.SIGTERM))
    ended = several("--seed", 1, 15, 2)
    thread.join()
    assert ended.code == 143
    told = f"stopped by SIGTERM; 1 of 3 runs are finished; continue with: python train.py -c {several.recipe} "
    assert ended.err.startswith(told)
    assert ended.err.endswith("--seed 1 15 2\n")
    assert re.search(r"^run 2 of 3 stopped after [\d:]+: seed=15", ended.out, re.MULTILINE)
    assert len(list(several.runs.glob("2*/checkpoint-epoch1.pth"))) == 1

    again = several("--seed", 1, 15, 2)
    assert (again.code, again.err) == (0, "")
    assert [line.split()[0] for line in several.started()] == ["1", "15", "15", "2"]
    assert len(list(several.runs.glob("2*"))) == 3


def test_gpus_have_a_run_each_side_by_side(several: Several) -> None:
    several.has_gpus("0", "GPU-8a")
    ended = several("--seed", 16, 17, 1)  # the first two wait for one another
    assert ended.code == 0
    assert sorted(several.started()[:2]) == ["16 0.05 0", "17 0.05 GPU-8a"]
    assert several.started()[2] in ("1 0.05 0", "1 0.05 GPU-8a")


@pytest.mark.parametrize(
    ("gpus", "each", "shares"),
    [
        ([], 1, [()]),
        (["0", "1"], 0, [()]),
        (["0", "1"], 1, [("0",), ("1",)]),
        (["0", "1", "2", "3", "4"], 2, [("0", "1"), ("2", "3")]),
        (["0", "1"], 4, [("0", "1")]),
    ],
)
def test_a_run_has_as_many_gpus_as_it_wants(gpus: list[str], each: int, shares: list[tuple[str, ...]]) -> None:
    assert shares_of(gpus, each=each) == shares


def test_the_visible_gpus_are_those_that_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8a")
    assert visible_gpus() == ["3", "GPU-8a"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible_gpus() == []


def test_a_recipe_that_is_edited_meanwhile_concerns_no_run_that_is_waiting(several: Several) -> None:
    several.runs.mkdir(parents=True)
    (several.runs / "recipe_to_spoil.txt").write_text(str(several.recipe))
    assert several("--seed", 1, 2).code == 0
    assert several.recipe.read_text() == "spoilt"
    assert [line.split()[0] for line in several.started()] == ["1", "2"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--seed", "1", "x"], "seed: expected an integer, at least 0"),
        (["--seed", "1", "1"], "the runs 'seed=1' and 'seed=1' are one"),
        (["--sweep", "optimizer.args.lr=0.1,x"], "optimizer.args.lr: expected a number; got 'x' (set by --sweep)"),
        (["--sweep", "optimizer.args.lr=0.1,1e-1"], "are one: nothing that is trained differs"),
        (["--sweep", "n_gpu=1,2"], "are one: nothing that is trained differs"),
        (["--sweep", "optimizer.args.lrr=0.1,0.2"], "optimizer.args.lrr"),
        (["--sweep", "optimizer.args.lr"], "expected a.b.c=V1,V2"),
        (["--sweep", "optimizer.args.lr= "], "--sweep optimizer.args.lr= : expected a.b.c=V1,V2"),
        (["--sweep", "optimizer.args.lr=0.1,"], "expected a value before and after each comma"),
        (["--sweep", "optimizer.args.lr=0.1,[" + "[" * 200], "optimizer.args.lr"),
        (["--sweep", "seed=1,2", "--sweep", "seed=3"], "--sweep seed: given twice"),
        (["--sweep", "name=a,b"], "--sweep name: the runs of a sweep lie together"),
        (["--seed", "1", "2", "-r", "x.pth"], "-r x.pth: goes on with one run"),
        (["--seed", "1", "2", "--images", "."], "--images chooses the configuration of one run"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(several: Several, flags: list[str], told: str) -> None:
    before = files_below(several.folder)
    ended = several(*flags)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert told in line
    assert files_below(several.folder) == before


def test_torchrun_is_for_one_run() -> None:
    arguments = train.build_parser().parse_args(["-c", "a.json", "--seed", "1", "2"])
    with pytest.raises(UserError, match="torchrun"):
        asked_for(arguments, LaunchEnvironment(rank=0, size=2))


def test_a_single_seed_is_a_single_run_as_ever() -> None:
    arguments = train.build_parser().parse_args(["-c", "a.json", "-s", "3"])
    assert asked_for(arguments, LaunchEnvironment()) is None
    assert read_overrides(arguments)["seed"] == (3, "-s")


def test_two_commands_do_not_train_the_same_run(several: Several) -> None:
    assert several("--seed", 1, 2).code == 0
    (path,) = several.runs.glob("several/seed=2-*.lock")
    lock = take_lock(path)
    assert lock is not None
    with lock:
        ended = several("--seed", 2, 3)
    assert ended.code == 2
    assert ended.err.startswith("error: seed=2: another command is about to train this run")


@pytest.mark.parametrize(("best_epoch", "finished"), [(1, True), (2, False)])
def test_a_run_that_was_stopped_early_is_finished(tmp_path: Path, best_epoch: int, finished: bool) -> None:
    changes = {"trainer__early_stop": 2, "trainer__monitor": "max val_accuracy", "trainer__validate": True}
    config = small_config(trainer__epochs=9, trainer__save_dir=str(tmp_path), **changes)
    parser = ConfigParser(config, source="a test")
    run = PlannedRun("seed=1", parser, run_config(parser))
    folder = parser.make_run_folder()
    history = [{"epoch": float(epoch), "val_accuracy": 0.5} for epoch in (1, 2, 3)]
    state = RunState(epoch=3, best=0.5, best_epoch=best_epoch, history=history)
    content = {"state_dict": {"weight": torch.zeros(1)}, "progress": state.state_dict()}
    save_checkpoint(folder / "checkpoint-epoch3.pth", content)
    assert run.is_finished() == finished


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.05, 0.1", ["0.05", "0.1"]),
        ("[0, 1, 2],[0, 2, 4]", ["[0, 1, 2]", "[0, 2, 4]"]),
        ('{"a": [1, 2]},"x,y"', ['{"a": [1, 2]}', '"x,y"']),
        ("0;1;2,limits", ["0;1;2", "limits"]),
    ],
)
def test_commas_within_a_value_do_not_split_it(text: str, values: list[str]) -> None:
    assert split_values(text) == values

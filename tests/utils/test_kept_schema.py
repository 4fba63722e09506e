"""Hints that are kept say what the classes' own say, as long as these have not changed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.scripts.command_line import ROOT
from tests.trainer.config_mutator import RECIPES, mutant
from trainer.config.run_config import RunConfig
from utils.config import kept_schema
from utils.config.kept_schema import keep, kept_problems
from utils.config.schema import problems

WRONG = {"nonsense": 1}
MUTANTS = 300


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    found = tmp_path / "cache"
    monkeypatch.setattr(kept_schema, "kept_file", lambda name: found / name)
    return found


def test_mistakes_are_told_in_the_same_words() -> None:
    keep(RunConfig)
    told = 0
    for seed in range(MUTANTS):
        description, config = mutant(seed)
        live = problems(config, RunConfig, "")
        assert kept_problems(config) == live, description
        told += bool(live)
    assert told > MUTANTS / 3
    assert [name for name, config in RECIPES.items() if kept_problems(config)] == []


def test_a_section_within_a_section_is_known_too() -> None:
    keep(RunConfig)
    config = {**RECIPES["digits/config_digits_ir40_bs-experts.json"]}
    config["lr_scheduler"] = {
        "type": "SequentialLR",
        "args": {"schedulers": [{"type": "StepLR", "args": {"step": 1}}], "milestones": [1]},
    }
    (problem,) = kept_problems(config)
    assert problem.path == "lr_scheduler.args.schedulers[0].args.step"
    assert "step_size" in problem.message


def test_nothing_is_told_before_anything_is_kept() -> None:
    assert kept_problems(WRONG) == []
    keep(RunConfig)
    assert kept_problems(WRONG) == problems(WRONG, RunConfig, "")


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(7)], ids=["empty", "damaged", "foreign"])
def test_a_file_that_holds_something_else_is_written_anew(folder: Path, content: bytes) -> None:
    keep(RunConfig)
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert kept_problems(WRONG) == []
    keep(RunConfig)
    assert kept_problems(WRONG) != []


@pytest.mark.parametrize("change", ["longer", "newer", "gone", "another"])
def test_hints_of_changed_files_are_no_longer_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Nor those from before another file came: a new class is a file, and no other need name it."""
    losses = tmp_path / "losses"
    losses.mkdir()
    source = losses / "a_loss.py"
    source.write_text("class Loss: ...")
    for path in (source, losses):
        os.utime(path, (1, 1))
    module = types.ModuleType("a_loss")
    module.__file__ = str(source)
    monkeypatch.setattr(kept_schema, "_ROOT", tmp_path)
    monkeypatch.setitem(sys.modules, "a_loss", module)
    keep(RunConfig)
    assert kept_problems(WRONG) != []
    if change == "longer":
        source.write_text("class Loss: ...  # more")
        os.utime(source, (1, 1))
    elif change == "newer":
        os.utime(source, (2, 2))
    elif change == "another":
        (losses / "another_loss.py").write_text("class AnotherLoss: ...")
    else:
        source.unlink()
    assert kept_problems(WRONG) == []


def test_where_nothing_can_be_kept_nothing_happens(folder: Path) -> None:
    folder.write_text("a file in the folder's place")
    keep(RunConfig)
    assert kept_problems(WRONG) == []
    assert folder.read_text() == "a file in the folder's place"


def test_without_a_home_folder_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_schema, "kept_file", lambda name: None)
    keep(RunConfig)
    assert kept_problems(WRONG) == []


def test_train_tells_a_mistake_without_torch_once_a_run_was_checked(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "train.py", "-c"]
    recipe = "configs/digits/config_digits_ir40_bs-experts.json"
    flags = ["--set", "optimizer.args.momentun=0.9", "--save_dir", str(tmp_path / "saved")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache_home")}
    told = []
    for _ in range(2):
        done = subprocess.run(
            [*command, recipe, *flags],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 2
        lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        told.append((lines, "torch._C" in done.stderr))
    ((first, slowly), (second, quickly)) = told
    assert first == second
    assert "optimizer.args.momentun: unknown key; did you mean 'momentum'?" in first[-1]
    assert (slowly, quickly) == (True, False)
    assert not (tmp_path / "saved").exists()

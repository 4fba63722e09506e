"""Cached hints say what the classes' own say, for as long as these can't have changed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from tests.scripts.command_line import ROOT
from tests.trainer.config_mutator import RECIPES, mutant
from trainer.config.run_config import RunConfig
from utils.config import schema_cache
from utils.config.schema import problems
from utils.config.schema_cache import cache_schema, cached_problems

DIGITS = "configs/digits/config_digits_ir40_bs-experts.json"
WRONG = {"nonsense": 1}
MUTANTS = 300
LONG_AGO = 1  # seconds since 1970


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own; this checkout may be newer than the process that tests it."""
    found = tmp_path / "cache"
    monkeypatch.setattr(schema_cache, "cached_file", lambda name: found / name)
    monkeypatch.setattr(schema_cache, "_BEGUN", time.time_ns() + 10**10)
    return found


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A loss of a project that has no other file, imported."""
    path = tmp_path / "project" / "losses" / "a_loss.py"
    path.parent.mkdir(parents=True)
    path.write_text("class Loss: ...")
    os.utime(path, (LONG_AGO, LONG_AGO))
    module = types.ModuleType("a_loss")
    module.__file__ = str(path)
    monkeypatch.setattr(schema_cache, "_ROOT", path.parents[1])
    monkeypatch.setitem(sys.modules, "a_loss", module)
    return path


def is_cached() -> bool:
    return cached_problems(WRONG) != []


def test_mistakes_are_told_in_the_same_words() -> None:
    cache_schema(RunConfig)
    told = 0
    for seed in range(MUTANTS):
        description, config = mutant(seed)
        live = problems(config, RunConfig, "")
        assert cached_problems(config) == live, description
        told += bool(live)
    assert told > MUTANTS / 3
    assert [name for name, config in RECIPES.items() if cached_problems(config)] == []


def test_a_section_within_a_section_is_known_too() -> None:
    cache_schema(RunConfig)
    part = {"type": "StepLR", "args": {"step": 1}}
    schedule = {"type": "SequentialLR", "args": {"schedulers": [part], "milestones": [1]}}
    (problem,) = cached_problems({**RECIPES["digits/config_digits_ir40_bs-experts.json"], "lr_scheduler": schedule})
    assert problem.path == "lr_scheduler.args.schedulers[0].args.step"
    assert "step_size" in problem.message


def test_nothing_is_told_before_anything_is_cached() -> None:
    assert not is_cached()
    cache_schema(RunConfig)
    assert cached_problems(WRONG) == problems(WRONG, RunConfig, "")


def test_all_files_that_a_configuration_may_name_are_looked_at(folder: Path) -> None:
    cache_schema(RunConfig)
    (file,) = folder.iterdir()
    sources = pickle.loads(file.read_bytes()).sources
    for room in ("model/losses", "model", "data_loader/data_loaders", "trainer/methods", "trainer/engine", "base"):
        names = {path.name for path in (ROOT / room).glob("*.py")}
        assert names <= sources[str(ROOT / room)].keys(), room
    assert str(ROOT) not in sources
    assert not [name for name in sources if "site-packages" in name]


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(7)], ids=["empty", "damaged", "foreign"])
def test_a_file_that_holds_something_else_is_written_anew(folder: Path, content: bytes) -> None:
    cache_schema(RunConfig)
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert not is_cached()
    cache_schema(RunConfig)
    assert is_cached()


@pytest.mark.parametrize("change", ["longer", "newer", "gone", "another file", "another package"])
def test_hints_of_changed_files_are_no_longer_used(source: Path, change: str) -> None:
    """Nor those from before another file came: a new class is a file, and no other need name it."""
    cache_schema(RunConfig)
    assert is_cached()
    if change == "longer":
        source.write_text("class Loss: ...  # more")
        os.utime(source, (LONG_AGO, LONG_AGO))
    elif change == "newer":
        os.utime(source, (LONG_AGO + 1, LONG_AGO + 1))
    elif change == "gone":
        source.unlink()
    elif change == "another file":
        source.with_name("another_loss.py").write_text("class AnotherLoss: ...")
    else:
        source.with_name("more_losses").mkdir()
    assert not is_cached()


def test_what_is_no_source_of_hints_may_change(source: Path) -> None:
    cache_schema(RunConfig)
    source.with_name("__pycache__").mkdir()
    source.with_name(".a_loss.py.swp").write_text("an editor's")
    (source.parents[1] / "saved").mkdir()
    (source.parents[1] / "train_all.py").write_text("a script beside the packages")
    assert is_cached()


def test_a_file_that_was_changed_after_it_was_imported_is_not_taken_for_what_was_imported(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_cache, "_BEGUN", time.time_ns())
    source.write_text("class NewLoss: ...")
    cache_schema(RunConfig)
    assert not is_cached()
    os.utime(source, (LONG_AGO, LONG_AGO))
    cache_schema(RunConfig)
    assert is_cached()


def test_hints_of_another_pytorch_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cache_schema(RunConfig)
    assert is_cached()
    monkeypatch.setattr(schema_cache, "_libraries", lambda: "another Python, another PyTorch")
    assert not is_cached()


def test_a_project_without_files_of_its_own_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """As where it lies elsewhere than its modules say: nothing would tell when the hints are outdated."""
    monkeypatch.setattr(schema_cache, "_ROOT", tmp_path / "elsewhere")
    cache_schema(RunConfig)
    assert not folder.exists()


def test_where_nothing_can_be_cached_nothing_happens(folder: Path) -> None:
    folder.write_text("a file in the folder's place")
    cache_schema(RunConfig)
    assert not is_cached()
    assert folder.read_text() == "a file in the folder's place"


def test_a_file_that_disappears_meanwhile_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(schema_cache, "_stamps", gone)
    cache_schema(RunConfig)
    assert not is_cached()


def test_without_a_home_folder_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_cache, "cached_file", lambda name: None)
    cache_schema(RunConfig)
    assert not is_cached()


@pytest.mark.parametrize("several", [[], ["--seed", "1", "2"]], ids=["one run", "several runs"])
def test_train_tells_a_mistake_without_torch_once_a_configuration_was_checked(
    tmp_path: Path, several: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-X", "importtime", "train.py", "-c", DIGITS, *several]
    flags = ["--set", "optimizer.args.momentun=0.9", "--save_dir", str(tmp_path / "saved")]
    monkeypatch.setattr(schema_cache, "cached_file", lambda name: tmp_path / "home" / "balpoe" / name)
    cache_schema(RunConfig)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [*command, *flags], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert len(lines) == 1
    assert "optimizer.args.momentun: unknown key; did you mean 'momentum'?" in lines[0]
    assert "torch._C" not in done.stderr
    assert not (tmp_path / "saved").exists()

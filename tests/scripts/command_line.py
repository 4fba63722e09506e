"""Running the scripts, in this process (fast) or in one of their own (as people do)."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import train
from trainer.evaluation.scripts import run_sweep, run_test
from utils.errors import run_main

ROOT = Path(__file__).parents[2]

MAINS: dict[str, Callable[[], object]] = {
    "train.py": train.main,
    "test.py": run_test,  # the module's name is that of one of Python's own
    "test_all_cifar.py": partial(run_sweep, "cifar"),
    "test_all_imagenet.py": partial(run_sweep, "imagenet"),
    "test_all_inat.py": partial(run_sweep, "inat"),
}
EVALUATIONS = [script for script in MAINS if script != "train.py"]


@dataclass(frozen=True)
class Ended:
    """How a script ended."""

    code: int
    out: str
    err: str


def in_own_process(script: str, *arguments: object, **environment: str) -> Ended:
    """Run a script as a shell does, in the repository, with further variables of the environment."""
    done = subprocess.run(
        [sys.executable, script, *(str(argument) for argument in arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Shell:
    """Runs scripts within this process, and modules by their names: "tools.score"."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, script: str, *arguments: object) -> Ended:
        self._monkeypatch.setattr(sys, "argv", [script, *(str(argument) for argument in arguments)])
        self._capsys.readouterr()
        code = 0
        try:
            run_main(MAINS[script] if script in MAINS else importlib.import_module(script).main)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = self._capsys.readouterr()
        return Ended(code, out, err)


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file and its content, to see what a script has left behind."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} | {
        f"{path.relative_to(folder)}/": b"" for path in folder.rglob("*") if path.is_dir()
    }


def the_run(save_dir: Path, name: str = "small") -> Path:
    """The folder of the only run below `save_dir`."""
    (folder,) = (save_dir / "models" / name).glob("*/")
    return folder

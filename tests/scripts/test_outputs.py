"""Whatever becomes of the output, what a script was started for is kept: checkpoints, the log, results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.scripts.command_line import ROOT, the_run
from tests.trainer.small_runs import small_config
from utils.files.checkpoint import load_checkpoint

UNWRITTEN = "error: standard output: can't be written: No space left on device\n"
ENDS = {"closed pipe": (141, ""), "full device": (1, UNWRITTEN), "ascii": (0, "")}


@contextmanager
def output(kind: str, file: Path) -> Iterator[BinaryIO]:
    """Where a script's output goes; what can be written of it is in `file`."""
    if kind == "full device":
        with open("/dev/full", "wb") as full:
            yield full
    elif kind == "closed pipe":
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, "wb") as pipe:
            yield pipe
    else:
        with file.open("wb") as written:
            yield written


def ended(kind: str, tmp_path: Path, script: str, *arguments: object) -> tuple[int, str]:
    """Exit code and standard error of a script whose output is of this kind."""
    letters = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"} if kind == "ascii" else {}
    with output(kind, tmp_path / f"{script}.out") as stream:
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **letters},
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("kind", ENDS)
def test_no_output_costs_a_checkpoint_or_a_result(tmp_path: Path, kind: str) -> None:
    config = small_config(trainer__epochs=1, trainer__verbosity=2, trainer__validate=True)
    (tmp_path / "small.json").write_text(json.dumps({**config, "name": "café-τ"}))
    flags = ("-c", tmp_path / "small.json", "--save_dir", tmp_path / "saved")
    assert ended(kind, tmp_path, "train.py", *flags) == ENDS[kind]
    run = the_run(tmp_path / "saved", "café-τ")
    assert load_checkpoint(run / "checkpoint-epoch1.pth")["epoch"] == 1
    assert "epoch 1/1" in (run / "info.log").read_text(encoding="utf8")

    stored: list[dict[str, object]] = []
    for script in ("test.py", "test_all_cifar.py"):
        assert ended(kind, tmp_path, script, "-r", run / "checkpoint-epoch1.pth") == ENDS[kind]
        rows = json.loads((run / "results.json").read_text(encoding="utf8"))["results"]
        assert len(rows) > len(stored)
        assert [row for row in stored if row not in rows] == []
        stored = rows
    if kind == "ascii":
        assert r"caf\xe9-\u03c4" in (tmp_path / "test.py.out").read_text("ascii")

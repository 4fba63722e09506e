"""Whatever becomes of the output, what a script was started for is kept: checkpoints, the log, results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.forks import QUICK, Fork
from tests.scripts.command_line import in_own_process, the_run
from tests.trainer.small_runs import small_config
from utils.files.checkpoint import load_checkpoint

CLOSED_PIPE = """
import os
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
os.close(writing)
"""
ASCII = """
import sys
sys.stdout.reconfigure(encoding="ascii", errors="strict")
sys.stderr.reconfigure(encoding="ascii")
"""
UNWRITTEN = "error: standard output: can't be written: No space left on device\n"
ENDS = {"closed pipe": (141, ""), "full device": (1, UNWRITTEN), "ascii": (0, "")}


def ended(kind: str, file: Path, script: str, *arguments: object) -> tuple[int, str]:
    """Exit code and standard error of a script whose output is of this kind; what could be written is in `file`."""
    if kind == "ascii" and script == "train.py":
        done = in_own_process(script, *arguments, LC_ALL="C", PYTHONIOENCODING="ascii")
    elif kind == "ascii":
        done = Fork("script", script, *arguments, before=ASCII).end()
    elif kind == "full device":
        done = Fork("script", script, *arguments, output="/dev/full", before=QUICK).end()
    else:
        done = Fork("script", script, *arguments, before=QUICK + CLOSED_PIPE).end()
    file.write_text(done.out)
    return done.code, done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("kind", ENDS)
def test_no_output_costs_a_checkpoint_or_a_result(tmp_path: Path, kind: str) -> None:
    config = small_config(trainer__epochs=1, trainer__verbosity=2, trainer__validate=True)
    (tmp_path / "small.json").write_text(json.dumps({**config, "name": "café-τ"}))
    flags = ("-c", tmp_path / "small.json", "--save_dir", tmp_path / "saved")
    assert ended(kind, tmp_path / "train.txt", "train.py", *flags) == ENDS[kind]
    run = the_run(tmp_path / "saved", "café-τ")
    assert load_checkpoint(run / "checkpoint-epoch1.pth")["epoch"] == 1
    assert "epoch 1/1" in (run / "info.log").read_text(encoding="utf8")

    stored: list[dict[str, object]] = []
    for script in ("test.py", "test_all_cifar.py"):
        assert ended(kind, tmp_path / f"{script}.txt", script, "-r", run / "checkpoint-epoch1.pth") == ENDS[kind]
        rows = json.loads((run / "results.json").read_text(encoding="utf8"))["results"]
        assert len(rows) > len(stored)
        assert [row for row in stored if row not in rows] == []
        stored = rows
    if kind == "ascii":
        assert r"caf\xe9-\u03c4" in (tmp_path / "test.py.txt").read_text("ascii")

"""Where a disk is full, what keeps the books on a run says so in one line or is silent; no traceback either way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PREPARED = """
import logging, resource, sys
from pathlib import Path
from utils.errors import run_main
from utils.reporting.logger import set_up_logging
from utils.reporting.tensorboard import Recorder

def full():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # bytes of any file

folder = Path(sys.argv[1])
set_up_logging(1, folder=folder)
"""
CURVES = """
def main():
    recorder = Recorder(folder)
    recorder.scalars({"loss": 1.0}, 1)
    full()
    recorder.scalars({"loss": 0.5}, 2)

run_main(main)
"""
NEW_CURVES = """
full()
run_main(lambda: Recorder(folder))
"""
LOG = """
logging.getLogger("run").info("before")
full()
logging.getLogger("run").info("after")
"""
NOT_THE_DISK = """
logging.getLogger("run").info("%d", "text")
"""


def after_full_disk(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREPARED + script, str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("script", [CURVES, NEW_CURVES], ids=["at work", "at the start"])
def test_curves_that_can_not_be_written_are_one_line(tmp_path: Path, script: str) -> None:
    ended = after_full_disk(tmp_path, script)
    assert ended.returncode == 2
    assert ended.stderr == f"error: {tmp_path}: cannot write TensorBoard events: File too large\n"


def test_a_line_that_can_not_be_logged_is_still_shown_on_the_screen(tmp_path: Path) -> None:
    ended = after_full_disk(tmp_path, LOG)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "before\nafter\n", "")
    assert "before" in (tmp_path / "info.log").read_text()


def test_mistakes_in_a_log_line_are_still_told(tmp_path: Path) -> None:
    ended = after_full_disk(tmp_path, NOT_THE_DISK)
    assert "TypeError" in ended.stderr

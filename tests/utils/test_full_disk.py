"""Where a disk is full, what keeps the books on a run says so in one line, and the run goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PREPARED = """
import logging, resource, sys
from pathlib import Path
from utils.reporting.logger import set_up_logging
from utils.reporting.tensorboard import Recorder

def full():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # bytes of any file

folder = Path(sys.argv[1])
set_up_logging(1, folder=folder)
"""
CURVES = """
recorder = Recorder(folder)
recorder.scalars({"loss": 1.0}, 1)
full()
for epoch in (2, 3):
    recorder.scalars({"loss": 0.5}, epoch)
recorder.close()
print("trained")
"""
NEW_CURVES = """
full()
recorder = Recorder(folder)
recorder.scalars({"loss": 1.0}, 1)
recorder.close()
print("trained")
"""
LOG = """
logging.getLogger("run").info("before")
full()
logging.getLogger("run").info("after")
logging.getLogger("run").info("later")
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
def test_curves_that_can_not_be_written_are_a_warning_once(tmp_path: Path, script: str) -> None:
    ended = after_full_disk(tmp_path, script)
    told = "warning: TensorBoard's curves end here, they can't be written: File too large"
    lost = f"warning: {tmp_path / 'info.log'} ends here, it can't be written: File too large"
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        told,
        lost,
        "trained",
    ]  # the log of this warning being the first on a full disk


def test_a_line_that_can_not_be_logged_is_shown_on_the_screen_and_the_loss_told_once(tmp_path: Path) -> None:
    ended = after_full_disk(tmp_path, LOG)
    lost = f"warning: {tmp_path / 'info.log'} ends here, it can't be written: File too large"
    assert (ended.returncode, ended.stdout.splitlines(), ended.stderr) == (0, ["before", "after", lost, "later"], "")
    assert "before" in (tmp_path / "info.log").read_text()


def test_a_log_that_can_not_be_opened_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "info.log").mkdir()
    ended = after_full_disk(tmp_path, "")
    told = f"warning: {tmp_path / 'info.log'}: can't be read as a log: it is a folder\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, told, "")


def test_mistakes_in_a_log_line_are_still_told(tmp_path: Path) -> None:
    ended = after_full_disk(tmp_path, NOT_THE_DISK)
    assert "TypeError" in ended.stderr

"""A tied process is told of the end of the one that started it, even where that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.command_line import ROOT

SLEEPER = """
import signal, sys, time
def end(number, frame):
    print("told", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
from utils.tied_processes import start_tied
start_tied([sys.executable, "-S", "-c", sys.argv[1]], output=sys.stdout.buffer)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell no process of its parent's end")
def test_a_process_ends_with_the_one_that_started_it() -> None:
    command = [sys.executable, "-S", "-c", PARENT, SLEEPER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == "told\n"  # and the end of the output: it is gone


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell no process of its parent's end")
def test_a_process_whose_parent_is_gone_already_does_not_begin() -> None:
    script = Path(ROOT / "utils" / "tied_processes.py")
    command = [sys.executable, "-I", "-S", str(script), "1", sys.executable, "-c", "print('begun')"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "")

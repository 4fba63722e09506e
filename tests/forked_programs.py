"""Python programs, each in a process of its own that has imported PyTorch already, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.scripts.command_line import ROOT, Ended

_SERVER = """
import json, os, sys, torch
folder, programs = sys.argv[1], json.load(sys.stdin)
codes = []
for number, program in enumerate(programs):
    process = os.fork()
    if not process:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
        break
    codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
else:
    print(json.dumps(codes))
"""


def run_forked(programs: Sequence[str]) -> list[Ended]:
    """Run programs one after the other, in forks of one process: its import of PyTorch is the only one."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _SERVER, folder],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=json.dumps(programs),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        codes = json.loads(done.stdout)
        told = [
            [Path(folder, f"{number}.{name}").read_text() for name in ("out", "err")] for number in range(len(codes))
        ]
    return [Ended(code, *texts) for code, texts in zip(codes, told, strict=True)]

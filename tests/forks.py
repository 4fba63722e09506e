"""Scripts and programs in processes of their own that have imported PyTorch already: forks of one that has.

Only what imports PyTorch anyway is started like this. How a script starts, and what its imports cost, is tested in
processes that Python starts, and so are the processes of `torchrun`.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.scripts.command_line import ROOT, Ended

_SERVER = """
import json, os, runpy, sys
import torch
replies = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    asked = json.loads(line)
    if "of" in asked:
        ended, status = os.waitpid(asked["of"], os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if ended else None
    else:
        answer = os.fork()
        if not answer:
            break
    print(json.dumps(answer), file=replies, flush=True)
else:
    sys.exit()
replies.close()
if asked["own_session"]:
    os.setsid()
for stream, name in enumerate(asked["streams"]):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), stream)
os.chdir(asked["folder"])
os.environ.clear()
os.environ.update(asked["environment"])
exec(asked["before"], {})
kind, sys.argv = asked["kind"], asked["arguments"]
if kind == "program":
    exec(compile(sys.argv[0], "program", "exec"), {"__name__": "__main__"})
elif kind == "module":
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that all are forks of: one for each process of pytest."""
    pipe = subprocess.PIPE
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # a session of its own: it doesn't hear of an interrupt at the terminal
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], env=environment, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    )
    atexit.register(server.communicate)  # which closes its input, and so ends it
    return server


def _answer(**asked: Any) -> Any:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps(asked), file=server.stdin, flush=True)
    return json.loads(server.stdout.readline())


class Fork:
    """A process at work, with what `subprocess.Popen` has for one.

    Args:
        kind: "script", "module", or "program" for Python's own lines.
        arguments: the script's file, the module's name or the lines, then what comes after it on the command line.
        folder: where it is started.
        output: the file that its output goes to instead of to `communicate`.
        before: lines that are run first, such as for a limit that it is to have.
        own_session: whether signals can be sent to it and to all that it starts by `os.killpg`.
    """

    def __init__(
        self,
        kind: str,
        *arguments: object,
        folder: Path = ROOT,
        output: str = "",
        before: str = "",
        own_session: bool = False,
    ) -> None:
        self._kept = tempfile.TemporaryDirectory()
        self._streams = [output or f"{self._kept.name}/out", f"{self._kept.name}/err"]
        self._told: tuple[str, str] | None = None
        self.returncode: int | None = None
        self.pid: int = _answer(
            kind=kind,
            arguments=[str(argument) for argument in arguments],
            folder=str(folder),
            environment={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            streams=[os.devnull, *self._streams],
            before=before,
            own_session=own_session,
        )

    def poll(self) -> int | None:
        """Its exit code, or None while it is at work."""
        if self.returncode is None:
            self.returncode = _answer(of=self.pid)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float = 180.0) -> tuple[str, str]:
        """What it has said and told, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended in so many seconds.
        """
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        if self._told is None:
            said, told = (Path(name).read_text() if Path(name).is_file() else "" for name in self._streams)
            self._told = said, told
            self._kept.cleanup()
        return self._told

    def end(self, timeout: float = 180.0) -> Ended:
        """How it ended; it is killed if it doesn't in so many seconds."""
        try:
            said, told = self.communicate(timeout)
        finally:
            self.send_signal(signal.SIGKILL)
        assert self.returncode is not None
        return Ended(self.returncode, said, told)


def run_forked(programs: Iterable[str]) -> list[Ended]:
    """Run Python programs one after the other."""
    return [Fork("program", program).end() for program in programs]


def script_in_fork(script: str, *arguments: object) -> Ended:
    """Run a script in the repository."""
    return Fork("script", script, *arguments).end()

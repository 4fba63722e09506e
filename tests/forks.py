"""Scripts and programs in processes of their own that have imported PyTorch already: forks of one that has.

Only what imports PyTorch anyway is started like this. How a script starts, and what its imports cost, is tested in
processes that Python starts, and so are one run of `torchrun`'s and the processes that a script starts by itself.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.fork_server import Process, Server
from tests.scripts.command_line import ROOT, Ended

QUICK = """
from tests.trainer.small_runs import draw_nothing, make_quick
from utils.late_compiler import import_compiler_late
make_quick()
draw_nothing()
import_compiler_late()
"""
"""As `before`: its small runs are quick (`make_quick`), it draws nothing, and imports the compiler late, as runs do."""
ITS_SCRIPTS_TOO = """
from tests.fork_server import start_scripts_as_forks
start_scripts_as_forks()
"""
"""As `before`, the last of it: the scripts that a fork starts are forks of what it is by then."""


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@functools.cache
def _server() -> Server:
    """The process that all are forks of: one for each process of pytest."""
    pipe, program = subprocess.PIPE, "from tests.fork_server import be_server; be_server()"
    # a session of its own: it doesn't hear of an interrupt at the terminal
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=_environment(), stdin=pipe, stdout=pipe, text=True, start_new_session=True
    )
    atexit.register(process.communicate)  # which closes its input, and so ends it
    assert process.stdin is not None
    assert process.stdout is not None
    return Server(process.stdin, process.stdout)


class Fork(Process):
    """A process at work whose output is kept until it is asked for.

    Args:
        kind: see `Process`, as `arguments`, `before` and `own_session`.
        folder: where it is started.
        output: the file that its output goes to instead of to `communicate`.
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
        super().__init__(
            _server(),
            kind,
            arguments,
            folder=folder,
            environment=_environment(),
            streams=[os.devnull, *self._streams],
            before=before,
            own_session=own_session,
        )

    def communicate(self, timeout: float = 180.0) -> tuple[str, str]:
        """What it has said and told, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended in so many seconds.
        """
        self.wait(timeout)
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

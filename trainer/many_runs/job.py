"""A run as plain data that may travel to another machine, and the process that trains it there; without PyTorch."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.tied_processes import start_tied

_LOOK = 0.5  # seconds after which an interruption is noticed


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a launcher has to know of a run.

    Args:
        label: in what the run differs from the others.
        command: that trains it, or goes on with it.
        log: file to which the command's output is appended.
        gpus: that it is to have.
        workers: processes that load its images.
    """

    label: str
    command: tuple[str, ...]
    log: Path
    gpus: int
    workers: int

    def start(self, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the command in a process that ends with this one.

        Raises:
            OSError: there is no further process, or the log can't be written.
        """
        with self.log.open("ab") as output:
            return start_tied(self.command, output=output, environment=environment)


def exit_code(returncode: int) -> int:
    """Of a process that has ended; 128 and the signal's number where it was killed by one."""
    return returncode if returncode >= 0 else 128 - returncode


class JobElsewhere:
    """What a launcher calls on the machine that it has chosen, in the main thread; it can be pickled.

    Args:
        job: which.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: threading.Thread | None = None

    def __call__(self) -> int:
        """Train; returns the command's exit code. An interruption ends the command with a checkpoint first."""
        self._process = self.job.start()
        # in a thread: while this one waits for a process, `checkpoint` could not wait for it, too
        self._waiting = threading.Thread(target=self._process.wait, daemon=True)
        self._waiting.start()
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return exit_code(self._process.returncode)

    def checkpoint(self) -> Any:
        """End the command with a checkpoint; returns what submitit is to queue again.

        submitit calls it, by this name, in a signal's handler: the job is preempted, or its time is over.
        """
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415 - who calls has it

        self._end()
        return DelayedSubmission(JobElsewhere(self.job))

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._wait()

    def _wait(self) -> None:
        while self._waiting is not None and self._waiting.is_alive():
            self._waiting.join(_LOOK)

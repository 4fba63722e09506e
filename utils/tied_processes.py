"""Processes that are told to end when the one that started them dies, however that comes about.

Linux sees to it where a process has asked for it itself. So this file is run in the new process, asks, and becomes the
command: what is asked for outlives that. On other systems such a process goes on alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def start_tied(
    command: Sequence[str], *, output: IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, which gets a SIGTERM when the calling thread ends.

    In the group of this process it would get a terminal's Ctrl-C, and once more from this process, which passes it on.

    Args:
        command: the program, by its path, and its arguments.
        output: where its standard output and error go.
        environment: of the process; None: as here.
    """
    tied = [sys.executable, "-I", "-S", __file__, str(os.getpid())] if sys.platform == "linux" else []
    return subprocess.Popen(
        [*tied, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )


def main() -> None:
    """Ask to be told of the end of the process whose number comes first, and become the command that follows."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has died meanwhile
        sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

"""Standard input, output and error as a process finds them: closed, without a reader, or of a few letters only."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

EXIT_UNREAD = 141  # as of a process that SIGPIPE has killed
EXIT_UNWRITTEN = 1


def prepare_streams() -> None:
    """Make the standard streams usable, whatever a process was started with.

    Closed ones (`2>&-`) lead nowhere: else the next file that is opened takes their number, and what a library prints
    goes into it. Letters that the terminal hasn't got are written as escapes: no τ is worth a run.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(nowhere, True)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(2, "w", encoding="utf8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is from the start


def flush_output(more: str = "") -> int:
    """Write what standard output holds back, which Python would do too late to tell a failure in one line.

    Args:
        more: written after it.

    Returns:
        the exit code: 0 where it could be written.
    """
    try:
        sys.stdout.write(more)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        code = EXIT_UNREAD
    except OSError as error:
        say(f"error: standard output: can't be written: {error.strerror}")
        code = EXIT_UNWRITTEN
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
    return code


def say(line: str) -> None:
    """Print a line to standard error; where that can't be written there is nobody to tell."""
    with suppress(OSError):
        print(line, file=sys.stderr)

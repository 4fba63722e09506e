"""Mistakes of the user, told in one line each, and the exit code that goes with them."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NamedTuple, TextIO

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141  # as of a process that SIGPIPE has killed


class EarlyEnd(Exception):
    """Why the program ends before its work is done, told in one line, without a traceback."""

    exit_code = 1
    prefix = "error: "


class UserError(EarlyEnd):
    """A mistake the user can mend: a wrong path, flag, file or value."""

    exit_code = EXIT_USER_ERROR


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or not one of ours."""


class RunError(EarlyEnd):
    """A run that can't go on, though nobody made a mistake on the command line: a loss that is no number, say."""


class Problem(NamedTuple):
    """Something wrong with a configuration; as text "path: message".

    Attributes:
        path: of the key, as in "optimizer.args.lr" or "metrics[0]".
        message: what is wrong, and what is allowed.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(UserError):
    """Everything that is wrong with a configuration, one line a problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


def reason_of(error: Exception) -> str:
    """What an exception says, its first line only; its name where it says nothing."""
    said = str(error.args[0] if error.args else "").strip() or type(error).__name__
    return said.splitlines()[0]


def nearest(name: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'momentum'?"` where one of `choices` resembles `name`, else the empty string."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    found = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower_case[found[0]]}'?" if found else ""


def run_main(main: Callable[[], object]) -> None:
    """Run a script's `main` and end the process: an `EarlyEnd` becomes one line a problem and its exit code.

    A reader that has gone away (`… | head`) ends it without a word.
    """
    code: int | str | None = 0
    try:
        main()
    except EarlyEnd as error:
        for line in str(error).splitlines():
            print(f"{error.prefix}{line}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except SystemExit as ended:
        code = ended.code
    except BrokenPipeError:
        if not _is_unread(sys.stdout):  # another pipe than the output's
            raise
        code = EXIT_UNREAD
    flushed = _flush_output()
    code = code or flushed
    if code:
        sys.exit(code)


def _flush_output() -> int:
    """Write what standard output holds back, which Python would do too late to tell a failure in one line.

    Returns:
        the exit code: 0 where it could be written.
    """
    if sys.stdout is None:
        return 0
    try:
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        code = EXIT_UNREAD
    except OSError as error:
        print(f"error: standard output: can't be written: {error.strerror}", file=sys.stderr)
        code = EarlyEnd.exit_code
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
    return code


def _is_unread(stream: TextIO) -> bool:
    """Whether a stream is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):  # Windows: it is the output, of all the pipes there may be
        return True
    poll = select.poll()
    poll.register(stream.fileno(), 0)  # errors are reported without being asked for
    return bool(poll.poll(0))

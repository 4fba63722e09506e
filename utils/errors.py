"""Mistakes of the user, told in one line each, and the exit code that goes with them."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NamedTuple

from utils.memory import lack_of_memory
from utils.standard_streams import EXIT_UNREAD, EXIT_UNWRITTEN, flush_output, prepare_streams, say

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
_LONGEST_LINE = 2000


class EarlyEnd(Exception):
    """Why the program ends before its work is done, told in one line, without a traceback."""

    exit_code = 1
    prefix = "error: "

    @property
    def lines(self) -> list[str]:
        """What is told, a line each; nothing where another process tells it."""
        return [str(self)] if str(self) else []


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

    @property
    def lines(self) -> list[str]:
        """A line for each problem."""
        return [str(problem) for problem in self.problems]


def reason_of(error: Exception) -> str:
    """What an exception says, its first line only; its name where it says nothing; of the system's errors its words."""
    told = getattr(error, "strerror", None) or (error.args[0] if error.args else "")
    said = str(told).strip() or type(error).__name__
    return said.splitlines()[0]


def printable(text: str) -> str:
    """Text on one line: a line break in a file's name, say, as its escape."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def nearest(name: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'momentum'?"` where one of `choices` resembles `name`, else the empty string."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    found = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower_case[found[0]]}'?" if found else ""


def run_main(main: Callable[[], object]) -> None:
    """Run a script's `main` and end the process: an `EarlyEnd` becomes one line a problem and its exit code.

    So does a lack of memory. A reader that has gone away (`… | head`) ends it without a word, an output that can't be
    written in one line.
    """
    code: int | str | None = 0
    atexit.register(gc.freeze)  # else Python looks for cycles among all of torch's objects before it ends: a second
    prepare_streams()
    try:
        main()
    except EarlyEnd as error:
        for line in error.lines:
            say(_shortened(f"{error.prefix}{printable(line)}"))
        code = error.exit_code
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except SystemExit as ended:
        code = ended.code
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if asked := lack_of_memory(error):
            say(f"error: out of memory ({asked})")
            code = EarlyEnd.exit_code
        elif isinstance(error, OSError) and flush_output("\n") == _code_of_output(error):  # it fails again
            code = _code_of_output(error)
        else:
            raise
    flushed = flush_output()
    code = code or flushed
    if code:
        sys.exit(code)


def _shortened(line: str) -> str:
    """A line of at most 2,000 characters: of what is longer (a path, a value) beginning and end say enough."""
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 + 3 :]}"


def _code_of_output(error: OSError) -> int:
    """With which exit code a script ends where it is standard output that failed, and no other file or pipe."""
    return EXIT_UNREAD if isinstance(error, BrokenPipeError) else EXIT_UNWRITTEN

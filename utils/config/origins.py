"""Where a configuration's keys were set: by a flag, or in which file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from utils.errors import ConfigError, Problem


class Origins:
    """What messages about a configuration say of where it came from.

    Args:
        source: the configuration's file, or a word on what it is; "": nothing is said.
        files: path → the file that it stands in, where the configuration extends others.
    """

    def __init__(self, source: str = "", files: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.files = dict(files or {})
        self.flags: dict[str, str] = {}
        """Path → the flag that set it."""

    def tell(self, problem: Problem) -> Problem:
        """A problem with where its path was set: by a flag for its key or a section around it, else in a file."""
        if not self.source:
            return problem
        path = problem.path.partition("[")[0]
        for around in _around(path):
            if flag := self.flags.get(around):
                return problem._replace(message=f"{problem.message} (set by {flag})")
        within = sorted({flag for key, flag in self.flags.items() if key.startswith(f"{path}.")})
        return problem._replace(message=f"{problem.message} (in {', with '.join([self._file_of(path), *within])})")

    def fail(self, path: str, message: str) -> NoReturn:
        """Raise a `ConfigError` about the key at a path, with where it was set."""
        raise ConfigError([self.tell(Problem(path, message))])

    def _file_of(self, path: str) -> str:
        """The file of a key or, where it is an object that several have written to, of all of them."""
        within = [file for key, file in self.files.items() if key.startswith(f"{path}.")]
        if within:
            return " and ".join(dict.fromkeys(reversed(within)))
        return next((self.files[around] for around in _around(path) if around in self.files), self.source)


def _around(path: str) -> list[str]:
    """A path and those of the sections around it, the innermost first."""
    names = path.split(".")
    return [".".join(names[:length]) for length in range(len(names), 0, -1)]

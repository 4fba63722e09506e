"""What classes say of themselves and of their arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator


def summary(kind: type) -> str:
    """The first line of a class's docstring."""
    return next(iter((inspect.getdoc(kind) or "").splitlines()), "")


def argument_descriptions(kind: type) -> Iterator[tuple[str, str]]:
    """(name, description) of a class's arguments, from the `Args:` of its docstring and of those it inherits from."""
    for base in reversed(inspect.getmro(kind)):
        section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", inspect.cleandoc(base.__doc__ or ""), re.MULTILINE)
        if section is not None:
            for entry in re.finditer(r"^ {4}(\w+)(?: \(.*?\))?: *(.*(?:\n {5,}.*)*)", section[1], re.MULTILINE):
                yield entry[1], " ".join(entry[2].split())

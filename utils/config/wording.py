"""Values, keys and type hints in words, for messages."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from utils.config.components import Component, fields_of
from utils.config.ranges import Range
from utils.errors import Problem, nearest

INTEGERS = 2**63
"""What PyTorch and NumPy count with: integers of a smaller size."""
UNKNOWN_KEY = "unknown key"
"""How messages about keys that there are none of begin."""
LISTS = (list, tuple, Sequence, Iterable)
"""Type hints that a JSON list fits."""
_SHOWN_LENGTH = 60
_JSON_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    type(None): "null",
    list: "a list",
}


def key_text(name: str) -> str:
    """A key as part of a path: in quotation marks where it would be taken for something else."""
    return name if re.fullmatch(r"[\w$-]+", name) and len(name) <= _SHOWN_LENGTH else _cut(json.dumps(name))


def joined(path: str, key: str) -> str:
    """The path of a key in the object at `path`; the whole configuration's path is empty."""
    return f"{path}.{key_text(key)}" if path else key_text(key)


def wrong_choice(value: Any, choices: Sequence[str], path: str) -> Problem:
    """That a value is none of those there are, and which of them it resembles."""
    hint = nearest(value, choices) if isinstance(value, str) else ""
    return Problem(path, f"{shown(value)} is not one of {', '.join(choices)}{hint}")


def mismatch(value: Any, annotation: Any, path: str) -> Problem:
    """That a value does not fit its type hint."""
    huge = isinstance(value, int) and abs(value) >= INTEGERS
    return Problem(path, f"expected {describe(annotation)}; got {shown(value)}{' (too large)' if huge else ''}")


def shown(value: Any) -> str:
    """A value as Python writes it, shortened."""
    try:
        return _cut(repr(value))
    except (ValueError, RecursionError):  # Python writes no integers of more than 4300 digits
        return "a value too long to show"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}..."


def describe(annotation: Any) -> str:  # noqa: PLR0911 - one return a kind of hint
    """A type hint in words: `Annotated[int, Range(low=1)]` is "an integer, at least 1"."""
    if get_origin(annotation) is Annotated:
        base, *marks = get_args(annotation)
        if any(isinstance(mark, Component) for mark in marks):
            return 'an object with "type" and "args"'
        return ", ".join([describe(base), *(str(mark) for mark in marks if isinstance(mark, Range))])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(option) for option in arguments if is_writable(option)))
    if origin is Literal:
        return f"one of {', '.join(repr(a) for a in arguments)}"
    if origin in LISTS:
        return f"a list (each {describe(arguments[0])})"
    if is_dataclass(annotation):
        return f"an object with keys {', '.join(fields_of(annotation))}"  # type: ignore[arg-type]
    return _JSON_NAMES.get(annotation, "an object" if is_writable(annotation) else "a value that JSON can't hold")


def is_writable(annotation: Any) -> bool:
    """Whether a value of this hint can be written in JSON at all (a tensor or a function can't)."""
    kind = get_origin(annotation) or annotation
    return (
        kind in (Annotated, Union, types.UnionType, Literal, *LISTS)
        or is_dataclass(kind)
        or kind in (int, float, bool, str, dict, type(None), Any)
    )

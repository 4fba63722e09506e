"""Flags such as `--set a.b.c=VALUE`: how they are split, and what the text of a value is taken for."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from utils.config.json_files import UnreadableJsonError, parse_json
from utils.errors import ConfigError, Problem


def add_assignment_flag(parser: argparse._ActionsContainer, flag: str, form: str, text: str) -> None:
    """Give a parser, or a group of it, a flag that may be repeated; it keeps the list of texts, at first empty.

    Args:
        parser: or group.
        flag: "--set".
        form: what follows it: "a.b.c=VALUE".
        text: its line of help.
    """
    parser.add_argument(flag, action="append", default=[], metavar=form, help=text)


def split_assignment(flag: str, text: str, form: str, *, needs_value: bool = False) -> tuple[str, str]:
    """`"a.b = 1"` → `("a.b", " 1")`.

    Args:
        flag: that the text was given to, for the message.
        text: as it was typed.
        form: what was expected, as in "a.b.c=VALUE".
        needs_value: nothing behind the "=" is no value.

    Raises:
        ConfigError: it has another form.
    """
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and (value.strip() or not needs_value)):
        raise ConfigError([Problem(f"{flag} {text}", f"expected {form}")])
    return name.strip(), value


def as_value(text: str) -> Any:
    """JSON where it is JSON (also Python's True, False, None, and numbers such as .1), else the string itself.

    Raises:
        UnreadableJsonError: it is JSON that can't be taken.
    """
    try:
        return parse_json({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except json.JSONDecodeError:
        return float(text) if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?", text) else text


def read_value(text: str, flag: str, read: Callable[[str], Any] = as_value) -> Any:
    """What a text is taken for, by default what `--set` takes it for.

    Args:
        text: as it was typed.
        flag: what the message says set it.
        read: makes a value of it.

    Raises:
        ConfigError: it is JSON that can't be taken.
    """
    try:
        return read(text)
    except UnreadableJsonError as error:
        raise ConfigError([Problem(flag, str(error))]) from None

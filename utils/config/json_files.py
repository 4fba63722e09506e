"""JSON files as configurations have it: with comments, and on top of another file that `extends` names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utils.config.wording import joined, shown
from utils.errors import UserError
from utils.files.reading import read_text_file

EXTENDS = "extends"
_COMMENT_KEY = "_comment"
_DEEPEST = 100  # objects and lists within one another; no configuration comes near
_MOST_BYTES = 10_000_000
_MOST_FILES = 100  # that extend one another
_TOO_DEEP = f"can't be read: nested more than {_DEEPEST} deep"
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)


class UnreadableJsonError(ValueError):
    """JSON that is well-formed and yet can't be taken: a key twice in one object, thousands of digits or brackets."""


def parse_json(text: str) -> Any:
    """A JSON value; keys that begin with `_comment` are ignored.

    Raises:
        json.JSONDecodeError: it is no JSON.
        UnreadableJsonError: it is, but can't be taken.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except (json.JSONDecodeError, UnreadableJsonError):
        raise
    except RecursionError:
        raise UnreadableJsonError(_TOO_DEEP) from None
    except ValueError:  # Python reads no integers of more than 4300 digits
        raise UnreadableJsonError("can't be read: a number has thousands of digits") from None
    if _depth_exceeds(value, _DEEPEST):
        raise UnreadableJsonError(_TOO_DEEP)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object from its keys and values; plain JSON readers silently take the last of two equal keys."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise UnreadableJsonError(f"the key {shown(name)} appears twice in one object; remove one")
        if not name.startswith(_COMMENT_KEY):
            content[name] = value
    return content


def with_remarks(content: Mapping[str, Any], remarks: Mapping[str, str], path: str = "") -> dict[str, Any]:
    """An object with remarks (path → text), each as a key above its own that readers of configurations ignore."""
    remarked: dict[str, Any] = {}
    for key, value in content.items():
        place = joined(path, key)
        if place in remarks:
            remarked[f"{_COMMENT_KEY}_{key}"] = remarks[place]
        remarked[key] = with_remarks(value, remarks, place) if isinstance(value, dict) else value
    return remarked


def _depth_exceeds(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        level = [inner for outer in level for inner in _members(outer)]
    return bool(level)


def _members(value: Any) -> Iterator[Any]:
    yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def without_comments(text: str) -> str:
    """JSON with spaces in place of `//` and `/* */` comments, so that every character keeps its line and column."""
    return _TOKEN.sub(lambda token: token[0] if token[0].startswith('"') else re.sub(r"[^\n]", " ", token[0]), text)


def read_json(path: Path) -> dict[str, Any]:
    """A configuration from a file, with all that it extends; see `read_configuration`."""
    return read_configuration(path)[0]


def read_configuration(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A configuration from a file, on top of the one that its `extends` names, relative to the file itself.

    Objects are merged key by key, anything else replaces what is inherited; a section with another `type` than the
    inherited one inherits nothing of it.

    Returns:
        (the configuration, path → the file that the key or section stands in).

    Raises:
        UserError: a file is missing or no JSON object, or the files extend one another in a circle.
    """
    return _resolve(path, [])


def _resolve(path: Path, extended_by: list[Path]) -> tuple[dict[str, Any], dict[str, str]]:
    own = _read_object(path, extended_by)
    if len(extended_by) > _MOST_FILES:
        raise UserError(f"{extended_by[0]}: more than {_MOST_FILES} files extend one another")
    if path.resolve() in [other.resolve() for other in extended_by]:
        chain = " → ".join(str(other) for other in [*extended_by, path])
        raise UserError(f"{path}: extends itself: {chain}")
    if EXTENDS not in own:
        return own, dict(_files_of(own, "", str(path)))
    parent = own.pop(EXTENDS)
    if not isinstance(parent, str) or not parent or "\0" in parent:
        raise UserError(f"{path}: {EXTENDS}: expected the name of a file; got {shown(parent)}")
    inherited, files = _resolve(path.parent / parent, [*extended_by, path])
    return _merged(inherited, own, "", files, str(path)), files


def _merged(
    inherited: dict[str, Any], own: dict[str, Any], path: str, files: dict[str, str], file: str
) -> dict[str, Any]:
    """An object on top of another; `files` (path → file) becomes that of the result."""
    merged = dict(inherited)
    if "type" in merged and own.get("type", merged["type"]) != merged["type"]:
        for key in merged:
            _forget(files, joined(path, key))
        merged = {}
    for key, value in own.items():
        place = joined(path, key)
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            files.pop(place, None)
            files[place] = file
            merged[key] = _merged(merged[key], value, place, files, file)
        else:
            _forget(files, place)
            files.update(_files_of(value, place, file))
            merged[key] = value
    return merged


def _files_of(value: Any, path: str, file: str) -> Iterator[tuple[str, str]]:
    """(path, file) of a value and of everything in it."""
    if path:
        yield path, file
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _files_of(item, joined(path, key), file)


def _forget(files: dict[str, str], path: str) -> None:
    for place in [place for place in files if place == path or place.startswith(f"{path}.")]:
        del files[place]


def _read_object(path: Path, extended_by: list[Path]) -> dict[str, Any]:
    """The JSON object in a file, as it stands there."""
    named = f" (extended by {extended_by[-1]})" if extended_by else ""
    try:
        content = parse_json(without_comments(read_text_file(path, "configuration file", most_bytes=_MOST_BYTES)))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnreadableJsonError as error:
        raise UserError(f"{path}: {error}") from None
    except UserError as error:
        raise UserError(f"{error}{named}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object with keys; got a {type(content).__name__}")
    return content

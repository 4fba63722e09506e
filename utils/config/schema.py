"""A configuration is checked against the signatures of what it builds, before anything is built.

`problems(value, annotation, path)` walks a JSON value and a type hint together and returns every disagreement as
one line that starts with the JSON path. Beyond the plain hints it knows three kinds of section:

* a dataclass: the keys are its fields;
* `Annotated[dict, Component(...)]`: `{"type": NAME, "args": {...}}`, where NAME is one of a module's `__all__`
  and the arguments are those of its constructor;
* `Annotated[str, OneOf(...)]`: one of some names.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from utils.config.ranges import Range
from utils.errors import nearest

_SHOWN_LENGTH = 60
_INTEGERS = 2**63  # what PyTorch and NumPy count with
_LISTS = (list, tuple, Sequence, Iterable)
_TYPING_ONLY = {"Callable": Callable, "Iterable": Iterable, "Sequence": Sequence}  # torch has them for checkers only
_JSON_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    type(None): "null",
    list: "a list",
}


@dataclass(frozen=True)
class OneOf:
    """A string that is one of `names`."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """A section `{"type", "args"}`.

    Args:
        modules: where `type` is looked up, in their `__all__` only.
        base: only subclasses of it count, where a module exports other things too.
        injected: constructor arguments that the program supplies, so the configuration may not.
        extras: further keys beside `type` and `args`, with their type hints.
    """

    modules: tuple[types.ModuleType, ...]
    base: type = object
    injected: frozenset[str] = frozenset()
    extras: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def choices(self) -> dict[str, type]:
        """Name → class of everything that `type` may name."""
        found = {name: getattr(module, name) for module in self.modules for name in module.__all__}
        return {
            name: entry
            for name, entry in found.items()
            if inspect.isclass(entry) and issubclass(entry, self.base) and entry is not self.base
        }


def problems(value: Any, annotation: Any, path: str) -> list[str]:  # noqa: PLR0911 - one return a kind of hint
    """Every disagreement of a JSON value with a type hint, each a line "path: what was expected; got …"."""
    if get_origin(annotation) is Annotated:
        base, *marks = get_args(annotation)
        for mark in marks:
            if isinstance(mark, Component):
                return list(_component_problems(value, mark, path))
            if isinstance(mark, OneOf) and value not in mark.names:
                return [_wrong_choice(value, mark.names, path)]
            if isinstance(mark, Range) and not (_is_plain(value, base) and mark.admits(value)):
                return [_mismatch(value, annotation, path)]
        return problems(value, base, path)
    if is_dataclass(annotation) and isinstance(annotation, type):
        return list(_section_problems(value, fields_of(annotation), path))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union_problems(value, arguments, annotation, path)
    if origin is Literal:
        fits = any(value == choice and type(value) is type(choice) for choice in arguments)  # True is no 1
        return [] if fits else [_wrong_choice(value, [str(choice) for choice in arguments], path)]
    if origin in _LISTS and isinstance(value, list):
        return [line for i, item in enumerate(value) for line in problems(item, arguments[0], f"{path}[{i}]")]
    if annotation is Any or annotation is inspect.Parameter.empty or _is_plain(value, origin or annotation):
        return []
    return [_mismatch(value, annotation, path)]


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor: its type hint, and whether the caller must give it."""

    annotation: Any
    required: bool


def fields_of(constructor: Callable[..., Any]) -> dict[str, Argument]:
    """Name → argument of a class or function, in the order of its signature; `self` and `**kwargs` left out."""
    try:
        target = constructor if is_dataclass(constructor) or not inspect.isclass(constructor) else constructor.__init__
        hints = get_type_hints(target, localns=_TYPING_ONLY, include_extras=True)
    except (NameError, TypeError):  # hints of a foreign library that exist for type checkers only
        hints = {}
    return {
        name: Argument(hints.get(name, Any), parameter.default is inspect.Parameter.empty)
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    }


def _key(name: str) -> str:
    """A key as part of a path: in quotation marks where it would be taken for something else."""
    return name if re.fullmatch(r"[\w$-]+", name) and len(name) <= _SHOWN_LENGTH else _cut(json.dumps(name))


def _wrong_choice(value: Any, choices: Sequence[str], path: str) -> str:
    hint = nearest(value, choices) if isinstance(value, str) else ""
    return f"{path}: {_shown(value)} is not one of {', '.join(choices)}{hint}"


def _section_problems(
    value: Any, arguments: Mapping[str, Argument], path: str, injected: frozenset[str] = frozenset()
) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path or 'the configuration'}: expected an object with keys; got {_shown(value)}"
        return
    dot = f"{path}." if path else ""
    allowed = {name: argument for name, argument in arguments.items() if name not in injected}
    missing = [name for name, argument in allowed.items() if argument.required and name not in value]
    for key, item in value.items():
        if key in injected:
            yield f"{dot}{key}: is set by the program and can't be set here"
        elif key not in allowed:
            yield f"{dot}{_key(key)}: unknown key" + (nearest(key, allowed) or f"; allowed here: {', '.join(allowed)}")
        else:
            yield from problems(item, allowed[key].annotation, f"{dot}{key}")
    for name in missing:
        if not nearest(name, (key for key in value if key not in allowed)):  # a misspelt key is told once, above
            yield f"{dot}{name}: is missing; expected {describe(allowed[name].annotation)}"


def _component_problems(value: Any, component: Component, path: str) -> Iterator[str]:
    keys = {"type": Argument(Any, True), "args": Argument(Any, False)}
    keys |= {name: Argument(annotation, False) for name, annotation in component.extras.items()}
    yield from _section_problems(value, keys, path)
    if not isinstance(value, dict) or "type" not in value:
        return
    choices = component.choices()
    if not isinstance(value["type"], str) or value["type"] not in choices:
        yield _wrong_choice(value["type"], list(choices), f"{path}.type")
    else:
        arguments = fields_of(choices[value["type"]])
        yield from _section_problems(value.get("args", {}), arguments, f"{path}.args", component.injected)


def _union_problems(value: Any, options: tuple[Any, ...], annotation: Any, path: str) -> list[str]:
    answers = [problems(value, option, path) for option in options]
    if any(not answer for answer in answers):
        return []
    if isinstance(value, list | dict):  # the option that got furthest into the value knows best what is wrong
        deeper = [answer for answer in answers if not answer[0].startswith(f"{path}: ")]
        if deeper:
            return deeper[0]
    return [_mismatch(value, annotation, path)]


def _is_plain(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a Python type, as JSON has it: an integer is a number, a boolean and NaN are not.

    Numbers are those that the machine can calculate with, text is what can be written to a file or name one.
    """
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INTEGERS
    if kind is str:
        return isinstance(value, str) and _is_text(value)
    return kind in (bool, str, list, dict, tuple, type(None)) and isinstance(value, kind)


def _is_text(value: str) -> bool:
    """Whether a string has neither zero characters nor halves of characters."""
    return not re.search(r"[\0\ud800-\udfff]", value)


def _mismatch(value: Any, annotation: Any, path: str) -> str:
    huge = isinstance(value, int) and abs(value) >= _INTEGERS
    return f"{path}: expected {describe(annotation)}; got {_shown(value)}{' (too large)' if huge else ''}"


def _shown(value: Any) -> str:
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
        return " or ".join(dict.fromkeys(describe(option) for option in arguments if _writable(option)))
    if origin is Literal:
        return f"one of {', '.join(repr(a) for a in arguments)}"
    if origin in _LISTS:
        return f"a list (each {describe(arguments[0])})"
    if is_dataclass(annotation):
        return f"an object with keys {', '.join(fields_of(annotation))}"  # type: ignore[arg-type]
    return _JSON_NAMES.get(annotation, "a value that JSON can't hold" if not _writable(annotation) else "an object")


def _writable(annotation: Any) -> bool:
    """Whether a value of this hint can be written in JSON at all (a tensor or a function can't)."""
    kind = get_origin(annotation) or annotation
    return (
        kind in (Annotated, Union, types.UnionType, Literal, *_LISTS)
        or is_dataclass(kind)
        or kind in (int, float, bool, str, dict, type(None), Any)
    )

"""A configuration is checked against the signatures of what it builds, before anything is built.

`problems(value, annotation, path)` walks a JSON value and a type hint together and returns every disagreement, each
with its path; `construct(value, annotation)` turns a value without problems into what the hint says. Beyond the plain
hints they know three kinds of section:

* a dataclass: the keys are its fields;
* `Annotated[Section, Component(...)]`: `{"type": NAME, "args": {...}}`, where NAME is one of a module's `__all__`
  and the arguments are those of its constructor;
* `Annotated[str, OneOf(...)]`: one of some names.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from utils.config.components import Argument, Component, OneOf, component_of, extras_of, fields_of, has_fields
from utils.config.origins import Origins
from utils.config.ranges import Range
from utils.config.sections import SET_BY_PROGRAM, Section
from utils.config.wording import INTEGERS, LISTS, UNKNOWN_KEY, describe, joined, mismatch, shown, wrong_choice
from utils.errors import Problem, nearest


def problems(value: Any, annotation: Any, path: str) -> list[Problem]:  # noqa: PLR0911 - one return a kind of hint
    """Every disagreement of a JSON value with a type hint: where, what was expected, and what there is."""
    if get_origin(annotation) is Annotated:
        base, *marks = get_args(annotation)
        for mark in marks:
            if isinstance(mark, Component):
                return list(_component_problems(value, mark, path))
            if isinstance(mark, OneOf) and value not in mark.names:
                return [wrong_choice(value, mark.names, path)]
            if isinstance(mark, Range) and not (_is_plain(value, base) and mark.admits(value)):
                return [mismatch(value, annotation, path)]
        return problems(value, base, path)
    if has_fields(annotation):
        return list(_section_problems(value, fields_of(annotation), path))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union_problems(value, arguments, annotation, path)
    if origin is Literal:
        fits = any(value == choice and type(value) is type(choice) for choice in arguments)  # True is no 1
        return [] if fits else [wrong_choice(value, [str(choice) for choice in arguments], path)]
    if origin in LISTS and isinstance(value, list):
        return [found for i, item in enumerate(value) for found in problems(item, arguments[0], f"{path}[{i}]")]
    if origin is dict and isinstance(value, dict):
        return [found for key, item in value.items() for found in problems(item, arguments[1], joined(path, key))]
    if annotation is Any or annotation is inspect.Parameter.empty or _is_plain(value, origin or annotation):
        return []
    return [mismatch(value, annotation, path)]


def construct(  # noqa: PLR0911 - one return a kind of hint
    value: Any, annotation: Any, *, origins: Origins | None = None
) -> Any:
    """A JSON value without problems as its type hint says: dataclasses, `Section`s, tuples; defaults filled in.

    Args:
        value: for which `problems` finds nothing.
        annotation: its type hint.
        origins: what each section tells of where its keys were set.
    """
    if (component := component_of(annotation)) is not None and value is not None:
        return _section(value, component, origins)
    if get_origin(annotation) is Annotated:
        return construct(value, get_args(annotation)[0], origins=origins)
    if is_dataclass(annotation) and isinstance(annotation, type):
        fields = fields_of(annotation)
        given = {name: construct(item, fields[name].annotation, origins=origins) for name, item in value.items()}
        return annotation(**given)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        fitting = next(option for option in arguments if not problems(value, option, ""))
        return construct(value, fitting, origins=origins)
    if origin in LISTS:
        items = [construct(item, arguments[0], origins=origins) for item in value]
        return tuple(items) if origin is tuple else items
    if origin is dict:
        return {key: construct(item, arguments[1], origins=origins) for key, item in value.items()}
    return float(value) if annotation is float else value


def _section(value: Mapping[str, Any], component: Component, origins: Origins | None) -> Section:
    extras = {
        name: construct(value[name], extra.annotation, origins=origins) if name in value else extra.default
        for name, extra in extras_of(component).items()
    }
    return Section(value["type"], dict(value.get("args", {})), extras, origins or Origins())


def _section_problems(
    value: Any, arguments: Mapping[str, Argument], path: str, injected: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path or "the configuration", f"expected an object with keys; got {shown(value)}")
        return
    allowed = {name: argument for name, argument in arguments.items() if name not in injected}
    missing = [name for name, argument in allowed.items() if argument.required and name not in value]
    for key, item in value.items():
        if key in injected:
            yield Problem(joined(path, key), SET_BY_PROGRAM)
        elif key not in allowed:
            hint = nearest(key, allowed) or f"; allowed here: {', '.join(allowed)}"
            yield Problem(joined(path, key), f"{UNKNOWN_KEY}{hint}")
        else:
            yield from problems(item, allowed[key].annotation, joined(path, key))
    for name in missing:
        if not nearest(name, (key for key in value if key not in allowed)):  # a misspelt key is told once, above
            yield Problem(joined(path, name), f"is missing; expected {describe(allowed[name].annotation)}")


def _component_problems(value: Any, component: Component, path: str) -> Iterator[Problem]:
    keys = {"type": Argument(Any, True), "args": Argument(Any, False), **extras_of(component)}
    yield from _section_problems(value, keys, path)
    if not isinstance(value, dict) or "type" not in value:
        return
    choices = component.choices()
    if not isinstance(value["type"], str) or value["type"] not in choices:
        yield wrong_choice(value["type"], list(choices), f"{path}.type")
    else:
        arguments = fields_of(choices[value["type"]])
        yield from _section_problems(value.get("args", {}), arguments, f"{path}.args", component.injected)


def _union_problems(value: Any, options: tuple[Any, ...], annotation: Any, path: str) -> list[Problem]:
    answers = [problems(value, option, path) for option in options]
    if any(not answer for answer in answers):
        return []
    if isinstance(value, list | dict):  # the option that got furthest into the value knows best what is wrong
        deeper = [answer for answer in answers if answer[0].path != path]
        if deeper:
            return deeper[0]
    return [mismatch(value, annotation, path)]


def _is_plain(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a Python type, as JSON has it: an integer is a number, a boolean and NaN are not.

    Numbers are those that the machine can calculate with, text is what can be written to a file or name one.
    """
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < INTEGERS
    if kind is str:
        return isinstance(value, str) and _is_text(value)
    return kind in (bool, str, list, dict, tuple, type(None)) and isinstance(value, kind)


def _is_text(value: str) -> bool:
    """Whether a string has neither zero characters nor halves of characters."""
    return not re.search(r"[\0\ud800-\udfff]", value)

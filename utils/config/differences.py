"""In which keys two configurations differ: what one of them leaves out counts as its default."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from utils.config.components import Argument, Component, component_of, fields_of
from utils.config.sections import Section
from utils.config.wording import joined, shown


class _Absent:
    """Stands for a key that there is none of, nor a default for it."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


class Difference(NamedTuple):
    """A key with two values.

    Attributes:
        path: the key's.
        old: its value in the first configuration, or `ABSENT`.
        new: in the second.
    """

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}: {shown(self.old)} → {shown(self.new)}"


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], annotation: Any, *, exempt: Iterable[str] = ()
) -> list[Difference]:
    """The keys in which two configurations differ, in the order of the second.

    Args:
        old: a configuration as plain data.
        new: another.
        annotation: the dataclass whose fields are the keys, with their defaults.
        exempt: paths of keys that do not count.
    """
    left_out = set(exempt)
    found = _differences(with_defaults(old, annotation), with_defaults(new, annotation), "")
    return [each for each in found if each.path not in left_out]


def with_defaults(value: Any, annotation: Any) -> Any:
    """A configuration, or a part of it, with every key that is left out at its default; what is unknown stays."""
    if (component := component_of(annotation)) is not None:
        return _full_section(value, component) if isinstance(value, Mapping) else value
    if get_origin(annotation) is Annotated:
        return with_defaults(value, get_args(annotation)[0])
    if get_origin(annotation) is list and isinstance(value, list):
        return [with_defaults(item, get_args(annotation)[0]) for item in value]
    if get_origin(annotation) is dict and isinstance(value, Mapping):
        return {key: with_defaults(item, get_args(annotation)[1]) for key, item in value.items()}
    options = [annotation, *get_args(annotation)]
    kind = next((one for one in options if isinstance(one, type) and dataclasses.is_dataclass(one)), None)
    return _full(value, kind) if kind is not None and isinstance(value, Mapping) else value


def _full_section(value: Mapping[str, Any], component: Component) -> dict[str, Any]:
    choices, name = component.choices(), value.get("type")
    extras = (
        {} if component.extras is None else _full({k: v for k, v in value.items() if k != "args"}, component.extras)
    )
    args = value.get("args", {})
    if isinstance(name, str) and name in choices and isinstance(args, Mapping):
        args = {key: item for key, item in _full(args, choices[name]).items() if key not in component.injected}
    return {**value, **extras, "args": args}


def _full(value: Mapping[str, Any], constructor: Any) -> dict[str, Any]:
    """The arguments of a constructor, those left out at their defaults."""
    full = dict(value)
    for name, argument in fields_of(constructor).items():
        default = full.get(name, plain_default(constructor, name, argument))
        if default is not ABSENT:
            full[name] = with_defaults(default, argument.annotation)
    return full


def plain_default(constructor: Any, name: str, argument: Argument) -> Any:
    """An argument's default as a configuration would say it; `ABSENT` where there is none.

    Args:
        constructor: a class or function; of a dataclass the fields' factories are asked.
        name: the argument's.
        argument: one of `fields_of(constructor)`.
    """
    return _plain(_default(constructor, name, argument))


def _default(constructor: Any, name: str, argument: Argument) -> Any:
    if dataclasses.is_dataclass(constructor):
        entry = next((one for one in dataclasses.fields(constructor) if one.name == name), None)
        if entry is not None and entry.default_factory is not dataclasses.MISSING:
            return entry.default_factory()
    if argument.default is not inspect.Parameter.empty:
        return argument.default
    component = component_of(argument.annotation)
    return Section(component.default) if component is not None and component.default else ABSENT


def _plain(value: Any) -> Any:
    """A default as a configuration would say it."""
    if isinstance(value, Section):
        return {"type": value.type, "args": dict(value.args)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return list(value) if isinstance(value, tuple) else value


def _differences(old: Any, new: Any, path: str) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*new, *old)):
            yield from _differences(old.get(key, ABSENT), new.get(key, ABSENT), joined(path, key))
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield Difference(path, old, new)

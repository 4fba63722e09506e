"""Sections `{"type", "args"}` and what is built from them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_origin

from utils.config.components import Component, component_of, fields_of
from utils.config.origins import Origins
from utils.config.wording import LISTS, wrong_choice
from utils.errors import ConfigError, Problem, reason_of

SET_BY_PROGRAM = "is set by the program and can't be set here"


@dataclass(frozen=True)
class Section:
    """A section of the configuration that names a class.

    Attributes:
        type: the class's name.
        args: arguments for its constructor, as they stand in the configuration.
        extras: the section's further keys, defaults filled in.
        origins: where they were set, for messages.
    """

    type: str
    args: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    origins: Origins = field(default_factory=Origins, repr=False, compare=False)

    def with_args(self, **args: Any) -> Section:
        """The section with other or further arguments."""
        return replace(self, args={**self.args, **args})


def argument_of(section: Section, component: Component, name: str) -> Any:
    """The argument `name` of what a section builds: as the section has it, else the constructor's default.

    None where the constructor has no such argument.
    """
    argument = fields_of(component.choices()[section.type]).get(name)
    return section.args.get(name, None if argument is None else argument.default)


def build(section: Section, component: Component, *positional: Any, context: Mapping[str, Any], path: str) -> Any:
    """Build what a section names: the constructor gets the section's arguments, and from `context` what it asks for.

    An argument that is marked with a `Component`, and each item of a list of such, is built first, with the same
    context; where it is left out, of the type that the mark names as its default.

    Args:
        section: to build.
        component: what it may name.
        positional: the constructor's first arguments.
        context: name → value of what the program supplies; a constructor is given those of its parameters that are in
            `component.injected`.
        path: the section's, for messages.

    Raises:
        ConfigError: the type is not one of those there are, the section sets what the program supplies, or the
            constructor refuses its arguments by a ValueError.
    """
    choices = component.choices()
    if section.type not in choices:
        section.origins.fail(*wrong_choice(section.type, list(choices), f"{path}.type"))
    for name in section.args:
        if name in component.injected:
            section.origins.fail(f"{path}.args.{name}", SET_BY_PROGRAM)
    kind: Any = choices[section.type]
    fields = fields_of(kind)
    arguments = {name: context[name] for name in fields if name in component.injected and name in context}
    arguments |= section.args
    for name, argument in fields.items():
        if name in component.injected:
            continue
        nested = component_of(argument.annotation)
        if nested and nested.default and argument.default is inspect.Parameter.empty:
            arguments.setdefault(name, {"type": nested.default})
        if name in arguments:
            inner, place = arguments[name], f"{path}.args.{name}"
            arguments[name] = _built(inner, argument.annotation, context=context, path=place, origins=section.origins)
    try:
        return kind(*positional, **arguments)
    except ValueError as error:
        raise ConfigError([section.origins.tell(Problem(path, reason_of(error)))]) from error


def _built(value: Any, annotation: Any, *, context: Mapping[str, Any], path: str, origins: Origins) -> Any:
    """An argument with the sections in it built; any other as it is."""
    nested = component_of(annotation)
    if nested is not None and isinstance(value, Mapping):
        within = Section(value["type"], value.get("args", {}), origins=origins)
        return build(within, nested, context=context, path=path)
    if get_origin(annotation) in LISTS and isinstance(value, list):
        (item_hint,) = get_args(annotation)[:1]
        return [
            _built(item, item_hint, context=context, path=f"{path}[{number}]", origins=origins)
            for number, item in enumerate(value)
        ]
    return value

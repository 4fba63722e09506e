"""What a section of the configuration may hold, for people: types, arguments, defaults, from the constructors."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, get_args

from utils.config.components import Argument, Component, OneOf, component_of, extras_of, fields_of
from utils.config.differences import ABSENT, plain_default
from utils.config.docstrings import argument_descriptions, summary
from utils.config.wording import describe, shown

_WIDTH = 110


def section_help(name: str, config: type) -> str:
    """The keys of a section, or its types with their arguments, as text of several lines.

    Args:
        name: a field of `config`.
        config: the configuration's dataclass.
    """
    annotation = fields_of(config)[name].annotation
    lines = [f"{name}: {dict(argument_descriptions(config)).get(name, '')}", ""]
    if (component := component_of(annotation)) is not None:
        lines += _component_lines(name, component)
    elif kind := next((one for one in _options(annotation) if isinstance(one, type) and is_dataclass(one)), None):
        lines += _argument_lines(fields_of(kind), kind)
    else:
        names = [known for one in _options(annotation) if isinstance(one, OneOf) for known in one.names]
        lines += [f"  {', '.join(names) or describe(annotation)}"]
    return "\n".join(lines)


def _options(annotation: Any) -> Iterator[Any]:
    """A type hint, what it is made of, and the marks on it."""
    yield annotation
    for inner in get_args(annotation):
        yield from _options(inner)


def _component_lines(name: str, component: Component) -> Iterator[str]:
    """Types with the same arguments share one list of them."""
    default = f"default {component.default}; " if component.default else ""
    yield f'  {name} = {{"type": TYPE, "args": {{…}}}}; {default}TYPE is one of these, with their args below:'
    if component.extras is not None:
        yield "\n  beside type and args:"
        yield from _argument_lines(extras_of(component), component.extras)
    groups: list[tuple[dict[str, Argument], dict[str, type]]] = []
    for kind, constructor in component.choices().items():
        fields = {key: field for key, field in fields_of(constructor).items() if key not in component.injected}
        kinds = next((kinds for known, kinds in groups if known == fields), None)
        if kinds is None:
            groups.append((fields, {kind: constructor}))
        else:
            kinds[kind] = constructor
    for fields, kinds in groups:
        yield ""
        yield from (f"  {kind}  {summary(constructor)}".rstrip() for kind, constructor in kinds.items())
        yield from _argument_lines(fields, next(iter(kinds.values())))


def _argument_lines(fields: Mapping[str, Argument], kind: type) -> Iterator[str]:
    described = dict(argument_descriptions(kind))
    for name, field in fields.items():
        default = plain_default(kind, name, field)
        expected = "required" if field.required else "" if default is ABSENT else f"default {_json(default)}"
        text = f"{describe(field.annotation)}{'; ' + expected if expected else ''}. {described.get(name, '')}".strip()
        yield from textwrap.wrap(f"{name}: {text}", _WIDTH, initial_indent="      ", subsequent_indent="          ")


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return shown(value)

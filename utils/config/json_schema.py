"""A JSON schema (draft 2020-12) of what `utils.config.schema.problems` accepts, for editors."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from utils.config.components import Argument, Component, OneOf, component_of, extras_of, fields_of
from utils.config.docstrings import argument_descriptions, summary
from utils.config.json_files import EXTENDS
from utils.config.ranges import Range
from utils.config.wording import LISTS, is_writable

Schema = dict[str, Any]

_PLAIN = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    dict: {"type": "object"},
}
_EXTENDS = {"type": "string", "description": "file of the configuration that this one changes, relative to this file"}
_COMMENTS: Schema = {"^_comment": {"description": "comment, ignored"}}


def json_schema(config: type) -> Schema:
    """The schema of a configuration file whose keys are the fields of a dataclass.

    A file that extends another may leave out whatever the other has, so it is checked without required keys.
    """
    whole, partial = _Writer("whole", requires=True), _Writer("partial", requires=False)
    whole_schema, partial_schema = whole.of(config), partial.of(config)
    partial.definition(config)["properties"][EXTENDS] = _EXTENDS
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": config.__name__,
        "description": summary(config),
        "type": "object",
        "if": {"required": [EXTENDS]},
        "then": partial_schema,
        "else": whole_schema,
        "$defs": {**whole.definitions, **partial.definitions},
    }


class _Writer:
    """Turns type hints into schemas; classes become definitions, so that one may hold another of its kind."""

    def __init__(self, prefix: str, *, requires: bool) -> None:
        self.prefix = prefix
        self.requires = requires
        self.definitions: dict[str, Schema] = {}

    def of(self, annotation: Any) -> Schema:  # noqa: PLR0911 - one return a kind of hint
        """The schema of a type hint's values."""
        if get_origin(annotation) is Annotated:
            return self._annotated(annotation)
        if is_dataclass(annotation) and isinstance(annotation, type):
            self._define(self._name(annotation), lambda: self._object(fields_of(annotation), annotation))
            return self._reference(self._name(annotation))
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType):
            options = [self.of(option) for option in arguments if is_writable(option)]
            return options[0] if len(options) == 1 else {"anyOf": options}
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in LISTS:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if annotation is Any or annotation is inspect.Parameter.empty:
            return {}
        return dict(_PLAIN.get(annotation, {"not": {}}))

    def definition(self, kind: type) -> Schema:
        """What has been written about a dataclass."""
        return self.definitions[self._name(kind)]

    def _annotated(self, annotation: Any) -> Schema:
        base, *marks = get_args(annotation)
        if (component := component_of(annotation)) is not None:
            modules = [module if isinstance(module, str) else module.__name__ for module in component.modules]
            kinds = modules if component.extras is None else [*modules, component.extras.__name__]
            name = f"{self.prefix} {' '.join(kinds)}"
            self._define(name, lambda: self._section(component))
            return self._reference(name)
        schema = self.of(base)
        for mark in marks:
            if isinstance(mark, OneOf):
                schema["enum"] = list(mark.names)
            if isinstance(mark, Range):
                schema |= _bounds(mark)
        return schema

    def _section(self, component: Component) -> Schema:
        """`{"type", "args"}`: which arguments there are follows from the type."""
        choices = component.choices()
        keys = self._object(extras_of(component), component.extras)
        types_ = {"oneOf": [{"const": name, "description": summary(kind)} for name, kind in choices.items()]}
        keys["properties"] |= {"type": types_, "args": {"type": "object"}}
        cases = []
        for name, kind in choices.items():
            allowed = {key: field for key, field in fields_of(kind).items() if key not in component.injected}
            definition = self._name(kind)
            self._define(definition, lambda allowed=allowed, kind=kind: self._object(allowed, kind))  # type: ignore[misc]
            then: Schema = {"properties": {"args": self._reference(definition)}}
            if self.requires and any(field.required for field in allowed.values()):
                then["required"] = ["args"]
            cases.append({"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then})
        return {**keys, "required": ["type"] if self.requires else [], "allOf": cases}

    def _object(self, fields: Mapping[str, Argument], kind: type | None) -> Schema:
        described = {} if kind is None else dict(argument_descriptions(kind))
        properties = {}
        for name, field in fields.items():
            schema = dict(self.of(field.annotation))
            if name in described:
                schema["description"] = described[name]
            if isinstance(field.default, bool | int | float | str) and field.default == field.default:  # NaN is none
                schema["default"] = field.default
            properties[name] = schema
        required = [name for name, field in fields.items() if field.required and self.requires]
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "patternProperties": _COMMENTS,
            "additionalProperties": False,
        }

    def _name(self, kind: type) -> str:
        return f"{self.prefix} {kind.__module__}.{kind.__qualname__}"

    def _define(self, name: str, write: Callable[[], Schema]) -> None:
        if name not in self.definitions:
            self.definitions[name] = {}  # what is being written may refer to itself
            self.definitions[name].update(write())

    def _reference(self, name: str) -> Schema:
        return {"$ref": f"#/$defs/{name.replace(' ', '%20')}"}


def _bounds(allowed: Range) -> Schema:
    low = "exclusiveMinimum" if allowed.low_open else "minimum"
    bounds = {low: allowed.low, "maximum": allowed.high}
    return {name: bound for name, bound in bounds.items() if bound is not None}

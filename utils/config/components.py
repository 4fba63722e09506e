"""What a section `{"type", "args"}` may name, and what a constructor's signature asks for."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

_TYPING_ONLY = {"Callable": Callable, "Iterable": Iterable, "Sequence": Sequence}  # torch has them for checkers only


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor.

    Attributes:
        annotation: its type hint.
        required: whether the configuration must give it.
        default: what it is where it is not given.
    """

    annotation: Any
    required: bool
    default: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class OneOf:
    """A string that is one of `names`."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """A section `{"type", "args"}`; as a mark, `Annotated[Section, Component(...)]`.

    A constructor's argument with this mark is a section within a section: it is checked and built the same way.

    Args:
        modules: where `type` is looked up, in their `__all__` only: modules, or their names, which are imported at the
            first look-up, so that a module may name the package it stands in.
        base: only subclasses of it count, where a module exports other things too: a class, or its full name.
        injected: constructor arguments that the program supplies, so the configuration may not.
        extras: a dataclass; its fields are further keys beside `type` and `args`.
        default: the type where the whole section is left out; "": it may not be.
    """

    modules: tuple[types.ModuleType | str, ...]
    base: type | str = object
    injected: frozenset[str] = frozenset()
    extras: type | None = None
    default: str = ""

    def choices(self) -> dict[str, Any]:
        """Name → class of everything that `type` may name."""
        base = self.base
        if isinstance(base, str):
            module, _, name = base.rpartition(".")
            base = getattr(importlib.import_module(module), name)
        modules = [importlib.import_module(name) if isinstance(name, str) else name for name in self.modules]
        exported = {name: getattr(module, name) for module in modules for name in module.__all__}
        return {
            name: entry
            for name, entry in exported.items()
            if inspect.isclass(entry) and issubclass(entry, base) and entry is not base
        }


@dataclass(frozen=True, eq=False)
class Described:
    """Stands for a class in a type hint: what `fields_of` says of it, known without importing it.

    Attributes:
        fields: name → argument of its constructor.
    """

    fields: Mapping[str, Argument]


@dataclass(frozen=True, eq=False)
class DescribedComponent(Component):
    """Stands for a component, as `Described` does for a class.

    Attributes:
        described: name → what stands for the class of that name.
        further: name → key beside `type` and `args`.
    """

    described: Mapping[str, Described] = field(default_factory=dict)
    further: Mapping[str, Argument] = field(default_factory=dict)

    __eq__, __hash__ = object.__eq__, object.__hash__  # by identity: it may hold itself

    def choices(self) -> dict[str, Any]:
        """Name → what stands for the class."""
        return dict(self.described)


def has_fields(annotation: Any) -> bool:
    """Whether a type hint is a dataclass, or stands for a class."""
    return is_dataclass(annotation) and isinstance(annotation, type | Described)


def component_of(annotation: Any) -> Component | None:
    """The `Component` that a type hint is marked with, itself or one of a union's options; None where there is none."""
    if get_origin(annotation) is Annotated:
        return next((mark for mark in get_args(annotation)[1:] if isinstance(mark, Component)), None)
    if get_origin(annotation) in (Union, types.UnionType):
        return next(filter(None, map(component_of, get_args(annotation))), None)
    return None


@cache
def fields_of(constructor: Callable[..., Any] | Described) -> Mapping[str, Argument]:
    """Name → argument of a class or function, in the order of its signature; `self` left out.

    A class whose constructor takes `**kwargs` hands them on, so its base class's arguments are its own, too.
    """
    if isinstance(constructor, Described):
        return constructor.fields
    try:
        target = constructor if is_dataclass(constructor) or not inspect.isclass(constructor) else constructor.__init__
        hints = get_type_hints(target, localns=_TYPING_ONLY, include_extras=True)
    except (NameError, TypeError):
        if constructor.__module__.partition(".")[0] != "torch":  # it has hints that exist for type checkers only
            raise
        hints = {}
    found = {}
    hands_on: type | None = None
    for name, parameter in inspect.signature(constructor).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            hands_on = constructor.__base__ if inspect.isclass(constructor) else None
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            annotation, nested = hints.get(name, Any), component_of(hints.get(name))
            required = parameter.default is inspect.Parameter.empty and not (nested and nested.default)
            found[name] = Argument(annotation, required, parameter.default)
    inherited = {} if hands_on is None else fields_of(hands_on)
    return types.MappingProxyType({**found, **{name: inherited[name] for name in inherited if name not in found}})


def extras_of(component: Component) -> Mapping[str, Argument]:
    """Name → key that a section may have beside `type` and `args`."""
    if isinstance(component, DescribedComponent):
        return component.further
    return {} if component.extras is None else fields_of(component.extras)

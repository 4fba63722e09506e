"""Every key that a configuration may have, as the schema itself has them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin

from trainer.config.run_config import RunConfig
from utils.config.components import Component, component_of, extras_of, fields_of
from utils.config.wording import joined


class Key(NamedTuple):
    """A key of the configuration.

    Attributes:
        path: "optimizer.args.lr".
        owner: for an argument, the class that first has it, as its subclasses share it: "SGD"; else empty.
    """

    path: str
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.path} of {self.owner}" if self.owner else self.path


def schema_keys() -> list[Key]:
    """Every key once, in the schema's order; what can have one value only is left out, for it can't be changed."""
    return list(dict.fromkeys(_keys_of(RunConfig, "")))


def _keys_of(constructor: Any, path: str) -> Iterator[Key]:
    for name, argument in fields_of(constructor).items():
        place, annotation = joined(path, name), argument.annotation
        options = (annotation, *get_args(annotation))
        section = next((one for one in options if isinstance(one, type) and is_dataclass(one)), None)
        if component := component_of(annotation):
            yield from _keys_of_component(component, place)
        elif section is not None:
            if type(None) in options:
                yield Key(place)
            yield from _keys_of(section, place)
        elif get_origin(annotation) is not Literal or len(get_args(annotation)) > 1:
            yield Key(place)


def _keys_of_component(component: Component, path: str) -> Iterator[Key]:
    yield Key(f"{path}.type")
    for name in extras_of(component):
        yield Key(joined(path, name))
    for kind in component.choices().values():
        for name in fields_of(kind):
            if name not in component.injected:
                yield Key(f"{path}.args.{name}", _owner(kind, name))


def _owner(kind: type, name: str) -> str:
    """The first of our classes that has the argument; each of torch's has its own, whatever it inherits from."""
    ours = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in ("torch", "builtins", "abc")]
    declaring = [base for base in ours if name in _declared(base)]
    return (declaring or [kind])[-1].__name__


def _declared(kind: type) -> set[str]:
    constructor = vars(kind).get("__init__")
    arguments = set(inspect.signature(constructor).parameters) if constructor else set()
    return arguments if not is_dataclass(kind) else set(vars(kind).get("__annotations__", {}))

"""What is registered, and configurations of small runs for whatever that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from tests.trainer.small_runs import small_config
from trainer.config.components import LOSS, METHOD, UPDATE_RULE, method_classes
from trainer.methods.base import WrappedMethod
from utils.config.components import Component, component_of, fields_of
from utils.config.sections import Section

LOSSES, METHODS, UPDATE_RULES = (list(component.choices()) for component in (LOSS, METHOD, UPDATE_RULE))
EXAMPLES: dict[str, Any] = {"tau_list": [0, 2]}
"""Values for arguments without a default, by their names."""
WRAPPERS = [name for name, kind in METHOD.choices().items() if issubclass(kind, WrappedMethod)]

EPOCHS, STEPS = 2, 3  # of the runs: 60 images, batches of 24, 24 and 12


def example_arguments(component: Component, name: str, **examples: Any) -> dict[str, Any]:
    """What a configuration must give an entry of a registry, so that it can be built."""
    needed = [
        argument
        for argument, field in fields_of(component.choices()[name]).items()
        if field.required and argument not in component.injected
    ]
    return {argument: {**EXAMPLES, **examples}[argument] for argument in needed}


class Variant(NamedTuple):
    """A method with arguments."""

    method: str
    args: Mapping[str, Any]

    def __str__(self) -> str:
        values = (value["type"] if isinstance(value, Mapping) else value for value in self.args.values())
        return "-".join([self.method, *map(str, values)])

    @property
    def classes(self) -> list[type[Any]]:
        """Its class and those of the methods within, the innermost last."""
        return method_classes(Section(self.method, self.args))

    @property
    def is_nested(self) -> bool:
        """Whether another method is among its arguments."""
        return any(isinstance(value, Mapping) for value in self.args.values())

    @property
    def trainable(self) -> tuple[str, ...]:
        """Patterns of the parameters that it trains."""
        return tuple(self.classes[-1].trainable)


def variants(name: str) -> Iterator[Variant]:
    """A method as it is, with each other value of arguments that are one of several words, around each other method."""
    arguments = example_arguments(METHOD, name)
    yield Variant(name, arguments)
    for argument, field in fields_of(METHOD.choices()[name]).items():
        if get_origin(field.annotation) is Literal:
            others = [value for value in get_args(field.annotation) if value != field.default]
            yield from (Variant(name, {**arguments, argument: value}) for value in others)
        if (inner := component_of(field.annotation)) is not None:
            others = [other for other in METHODS if other not in (*WRAPPERS, inner.default)]
            yield from (Variant(name, {**arguments, argument: {"type": other}}) for other in others)


VARIANTS = [variant for name in METHODS for variant in variants(name)]
PAIRS = [
    (variant, rule)
    for variant in VARIANTS
    for rule in UPDATE_RULES
    if rule == UPDATE_RULE.default or not variant.is_nested  # what is within a method has met every rule by itself
]
"""Methods and the update rules that they are trained by."""


def config_of(variant: Variant, rule: str, first_stage: Path, **changes: Any) -> dict[str, Any]:
    """A small run of a method by an update rule; methods that start from a trained network start from `first_stage`."""
    sizes = {"data_loader__args__max_per_class": 15, "data_loader__args__batch_size": 24, "trainer__epochs": EPOCHS}
    config = small_config(
        method={"type": variant.method, "args": dict(variant.args)},
        update_rule={"type": rule, "args": example_arguments(UPDATE_RULE, rule)},
        **{**sizes, **changes},
    )
    if any(kind.needs_initialise for kind in variant.classes):
        config["initialise"] = {"checkpoint": str(first_stage)}
    further = [name for name in variant.classes[-1].loaders if name != "train"]
    return {**config, "loaders": dict.fromkeys(further, config["data_loader"])}


def first_stage_config() -> dict[str, Any]:
    """What a method that starts from a trained network starts from."""
    return small_config(trainer__epochs=1, seed=5)

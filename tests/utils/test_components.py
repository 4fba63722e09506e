"""Sections that name a class: what they may name, with which arguments; signatures, and hints in words."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import torch

from utils.config.components import Component, fields_of
from utils.config.ranges import PositiveInt, Range
from utils.config.schema import problems
from utils.config.wording import describe

OPTIMISER = Annotated[dict, Component((torch.optim,), base=torch.optim.Optimizer, injected=frozenset({"params"}))]
SCHEDULE = Annotated[
    dict,
    Component(
        (torch.optim.lr_scheduler,), base=torch.optim.lr_scheduler.LRScheduler, injected=frozenset({"optimizer"})
    ),
]


@dataclass
class Recipe:
    optimizer: OPTIMISER  # type: ignore[valid-type]
    lr_scheduler: SCHEDULE  # type: ignore[valid-type]


@dataclass
class Limits:
    """Further keys of a section."""

    tau_min: float = 0.0
    tau_max: float | None = None


class Small:
    """A component of the tests' own."""

    def __init__(self, width: PositiveInt, taus: Sequence[float] | str = "limits", **rest: object) -> None:
        self.width = width


def module_of(*entries: Any) -> types.ModuleType:
    module = types.ModuleType("components")
    for entry in entries:
        setattr(module, entry.__name__, entry)
    module.__all__ = [entry.__name__ for entry in entries]
    return module


def lines(value: Any, annotation: Any, path: str) -> list[str]:
    return [str(problem) for problem in problems(value, annotation, path)]


# --- components -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "section",
    [
        {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}},
        {"type": "Adam", "args": {"betas": [0.9, 0.99]}},
        {"type": "AdamW"},
        {"type": "SGD", "args": {"lr": 1, "foreach": None}},
    ],
)
def test_torchs_own_optimisers_are_known(section: dict[str, Any]) -> None:
    assert lines(section, OPTIMISER, "optimizer") == []


@pytest.mark.parametrize(
    ("section", "start"),
    [
        ({"type": "SDG"}, "optimizer.type: 'SDG' is not one of "),
        ({"type": "Optimizer"}, "optimizer.type: 'Optimizer' is not one of "),
        ({"type": "lr_scheduler"}, "optimizer.type: 'lr_scheduler' is not one of "),
        ({"type": "Tensor"}, "optimizer.type: 'Tensor' is not one of "),
        ({"type": "__name__"}, "optimizer.type: '__name__' is not one of "),
        ({"type": ["SGD"]}, "optimizer.type: ['SGD'] is not one of "),
        ({"type": {"a": 1}}, "optimizer.type: {'a': 1} is not one of "),
        ({"type": None}, "optimizer.type: None is not one of "),
        ({"args": {}}, "optimizer.type: is missing"),
        ({"typ": "SGD"}, "optimizer.typ: unknown key; did you mean 'type'?"),
        ({"type": "SGD", "arguments": {}}, "optimizer.arguments: unknown key"),
        ({"type": "SGD", "args": None}, "optimizer.args: expected an object with keys; got None"),
        ({"type": "SGD", "args": [0.1]}, "optimizer.args: expected an object with keys; got [0.1]"),
        ({"type": "SGD", "args": {"momentun": 0.9}}, "optimizer.args.momentun: unknown key; did you mean 'momentum'?"),
        ({"type": "SGD", "args": {"lr": "0.1"}}, "optimizer.args.lr: expected a number; got '0.1'"),
        ({"type": "SGD", "args": {"lr": math.nan}}, "optimizer.args.lr: expected a number; got nan"),
        ({"type": "SGD", "args": {"nesterov": 1}}, "optimizer.args.nesterov: expected true or false; got 1"),
        ({"type": "Adam", "args": {"betas": 0.9}}, "optimizer.args.betas: expected a list (each a number); got 0.9"),
        ({"type": "SGD", "args": {"params": []}}, "optimizer.args.params: is set by the program"),
        ("SGD", "optimizer: expected an object with keys; got 'SGD'"),
    ],
)
def test_a_wrong_optimiser_is_told_in_one_line(section: Any, start: str) -> None:
    (line,) = lines(section, OPTIMISER, "optimizer")
    assert line.startswith(start)
    assert "\n" not in line


def test_an_unknown_type_lists_the_choices_and_the_nearest() -> None:
    (line,) = lines({"type": "AdamWW"}, OPTIMISER, "optimizer")
    assert "SGD" in line
    assert line.endswith("did you mean 'AdamW'?")


def test_torchs_own_schedules_are_known_and_their_missing_arguments_told() -> None:
    good = {"type": "CosineAnnealingLR", "args": {"T_max": 180, "eta_min": 0}}
    assert lines(good, SCHEDULE, "lr_scheduler") == []
    (line,) = lines({"type": "CosineAnnealingLR"}, SCHEDULE, "lr_scheduler")
    assert line.startswith("lr_scheduler.args.T_max: is missing; expected an integer")
    (line,) = lines({"type": "CosineAnnealingLR", "args": {"t_max": 180}}, SCHEDULE, "lr_scheduler")
    assert line == "lr_scheduler.args.t_max: unknown key; did you mean 'T_max'?"
    (line,) = lines({"type": "StepLR", "args": {"step_size": 3, "optimizer": {}}}, SCHEDULE, "lr_scheduler")
    assert line == "lr_scheduler.args.optimizer: is set by the program and can't be set here"


def test_schedules_whose_hints_are_for_type_checkers_only_are_checked_too() -> None:
    section = {"type": "MultiStepLR", "args": {"milestones": [160, "180"], "gamma": "0.1"}}
    assert lines(section, SCHEDULE, "lr_scheduler") == [
        "lr_scheduler.args.milestones[1]: expected an integer; got '180'",
        "lr_scheduler.args.gamma: expected a number; got '0.1'",
    ]


def test_an_argument_that_json_cannot_hold_is_refused() -> None:
    (line,) = lines({"type": "LambdaLR", "args": {"lr_lambda": "lambda e: 1"}}, SCHEDULE, "lr_scheduler")
    assert line.startswith("lr_scheduler.args.lr_lambda: expected ")


def test_extra_keys_of_a_component_are_checked_and_optional() -> None:
    loss = Annotated[dict, Component((module_of(Small),), extras=Limits)]
    good = {"type": "Small", "args": {"width": 3}}
    assert lines(good, loss, "loss") == []
    assert lines(good | {"tau_min": 0, "tau_max": 2.5}, loss, "loss") == []
    assert lines(good | {"tau_min": "0"}, loss, "loss") == ["loss.tau_min: expected a number; got '0'"]
    assert lines(good | {"tau_mim": 0}, loss, "loss") == ["loss.tau_mim: unknown key; did you mean 'tau_min'?"]


def test_only_what_a_module_exports_may_be_named() -> None:
    module = module_of(Small)
    module.Hidden = type("Hidden", (), {})  # type: ignore[attr-defined]
    module.__all__ += ["describe"]
    module.describe = describe  # type: ignore[attr-defined]  # exported, but no class
    component = Component((module, torch.optim), injected=frozenset())
    choices = component.choices()
    assert choices["Small"] is Small
    assert choices["SGD"] is torch.optim.SGD
    assert not {"Hidden", "describe"} & set(choices)


def test_problems_of_all_components_come_at_once() -> None:
    config = {
        "optimizer": {"type": "SGD", "args": {"lr": None, "momentm": 1}},
        "lr_scheduler": {"type": "StepLR", "args": {"step_size": "3"}},
    }
    assert [line.split(":")[0] for line in lines(config, Recipe, "")] == [
        "optimizer.args.lr",
        "optimizer.args.momentm",
        "lr_scheduler.args.step_size",
    ]


# --- signatures -------------------------------------------------------------------------------------------------


def test_fields_of_tells_hints_and_what_is_required() -> None:
    found = fields_of(Small)
    assert list(found) == ["width", "taus"]
    assert found["width"].required
    assert not found["taus"].required
    assert lines(0, found["width"].annotation, "width")


class Wide(Small):
    """A component that adds an argument, and changes the default of another."""

    def __init__(self, depth: int, taus: Sequence[float] | str = "uniform", **small: object) -> None:
        super().__init__(taus=taus, **small)  # type: ignore[arg-type]
        self.depth = depth


class Renamed(Wide):
    """The same by another name."""


@pytest.mark.parametrize("kind", [Wide, Renamed])
def test_a_constructor_may_pass_further_arguments_on_to_the_class_it_inherits_from(kind: type) -> None:
    fields = fields_of(kind)
    assert {name: field.required for name, field in fields.items()} == {"width": True, "taus": False, "depth": True}
    assert fields["taus"].default == "uniform"
    component = Annotated[dict, Component((module_of(kind),))]
    assert lines({"type": kind.__name__, "args": {"width": 1, "depth": 2}}, component, "arch") == []
    (line,) = lines({"type": kind.__name__, "args": {"width": 0, "depth": 2}}, component, "arch")
    assert line.startswith("arch.args.width: ")


def test_every_argument_of_the_configurable_loaders_is_checked() -> None:
    from data_loader import data_loaders  # noqa: PLC0415

    for name in data_loaders.__all__:
        found = fields_of(getattr(data_loaders, name))
        assert {"batch_size", "balanced", "num_workers"} <= set(found)
        assert lines(0, found["batch_size"].annotation, "batch_size") != [], name
        assert lines("yes", found["balanced"].annotation, "balanced") != [], name


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[float, Range(low=0, high=0.9)], "a number, at least 0 and at most 0.9"),
        (list[PositiveInt], "a list (each an integer, at least 1)"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (int | torch.Tensor, "an integer"),
        (Callable[[int], int], "a value that JSON can't hold"),
        (OPTIMISER, 'an object with "type" and "args"'),
        (dict, "an object"),
        (list, "a list"),
    ],
)
def test_describe_puts_a_hint_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words

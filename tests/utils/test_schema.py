"""A configuration against signatures: every kind of disagreement, with its exact path."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
import torch

from utils.config.components import Component, OneOf, fields_of
from utils.config.ranges import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Range
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
class Inner:
    alpha: Fraction
    kind: Literal["mix_input", "mix_logits"] = "mix_input"


@dataclass
class Outer:
    name: str
    epochs: PositiveInt
    inner: Inner
    steps: list[NonNegativeInt] = field(default_factory=list)
    note: str | None = None


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


# --- plain values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1 - 2**63, int),
        (10**300, float),
        (1, float),
        (1.5, float),
        (True, bool),
        ("x", str),
        (None, type(None)),
        ([1, 2], list[int]),
        ([], list[int]),
        ([1, 2.5], tuple[float, ...]),
        ([1, 2.5], Sequence[float]),
        ({"a": 1}, dict),
        ({"a": 1}, dict[str, int]),
        (None, int | None),
        (3, int | None),
        ("a", int | str),
        ([0, 1], list[float] | str),
        (2, Literal[1, 2]),
        ("exp", Literal["exp", "step"]),
        (1, PositiveInt),
        (0, NonNegativeInt),
        (1, Fraction),
        (None, PositiveInt | None),
        ("b", Annotated[str, OneOf(("a", "b"))]),
        (object(), Any),
    ],
)
def test_a_fitting_value_has_no_problem(value: Any, annotation: Any) -> None:
    assert lines(value, annotation, "key") == []


@pytest.mark.parametrize(
    ("value", "annotation", "line"),
    [
        (True, int, "key: expected an integer; got True"),
        (1.0, int, "key: expected an integer; got 1.0"),
        ("1", int, "key: expected an integer; got '1'"),
        (2**63, int, "key: expected an integer; got 9223372036854775808 (too large)"),
        (10**20, PositiveInt, "key: expected an integer, at least 1; got 100000000000000000000 (too large)"),
        (-(10**400), float, f"key: expected a number; got -1{'0' * 55}... (too large)"),
        ("a\0b", str, "key: expected a string; got 'a\\x00b'"),
        ("\ud800", str, "key: expected a string; got '\\ud800'"),
        (None, int, "key: expected an integer; got None"),
        (False, float, "key: expected a number; got False"),
        ("0.1", float, "key: expected a number; got '0.1'"),
        (math.nan, float, "key: expected a number; got nan"),
        (math.inf, float, "key: expected a number; got inf"),
        (1, bool, "key: expected true or false; got 1"),
        (5, str, "key: expected a string; got 5"),
        ("x", type(None), "key: expected null; got 'x'"),
        ({}, int, "key: expected an integer; got {}"),
        ("ab", list[str], "key: expected a list (each a string); got 'ab'"),
        ("ab", Sequence[str], "key: expected a list (each a string); got 'ab'"),
        (0, PositiveInt, "key: expected an integer, at least 1; got 0"),
        (True, PositiveInt, "key: expected an integer, at least 1; got True"),
        (2.0, PositiveInt, "key: expected an integer, at least 1; got 2.0"),
        (0, PositiveFloat, "key: expected a number, more than 0; got 0"),
        (math.nan, PositiveFloat, "key: expected a number, more than 0; got nan"),
        (math.inf, PositiveFloat, "key: expected a number, more than 0; got inf"),
        (1.01, Fraction, "key: expected a number, at least 0 and at most 1; got 1.01"),
        (0, PositiveInt | None, "key: expected an integer, at least 1 or null; got 0"),
        (1.5, int | str, "key: expected an integer or a string; got 1.5"),
        ("stepp", Literal["exp", "step"], "key: 'stepp' is not one of exp, step; did you mean 'step'?"),
        (True, Literal[1, 2], "key: True is not one of 1, 2"),
        (["exp"], Literal["exp", "step"], "key: ['exp'] is not one of exp, step"),
        ("mixupp", Annotated[str, OneOf(("mixup", "cutmix"))], None),
        (["mixup"], Annotated[str, OneOf(("mixup", "cutmix"))], "key: ['mixup'] is not one of mixup, cutmix"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_was_expected(value: Any, annotation: Any, line: str) -> None:
    expected = line or "key: 'mixupp' is not one of mixup, cutmix; did you mean 'mixup'?"
    assert lines(value, annotation, "key") == [expected]


def test_each_item_of_a_list_is_told_by_its_index() -> None:
    assert lines([1, "2", 3, None], list[int], "steps") == [
        "steps[1]: expected an integer; got '2'",
        "steps[3]: expected an integer; got None",
    ]
    assert lines([0, "x"], list[float] | str, "tau") == ["tau[1]: expected a number; got 'x'"]
    assert lines([[1], [2, False]], list[list[int]], "a") == ["a[1][1]: expected an integer; got False"]


def test_a_long_value_is_shortened() -> None:
    (line,) = lines("x" * 1000, int, "key")
    assert len(line) < 120
    assert line.endswith("...")


# --- sections ---------------------------------------------------------------------------------------------------


def test_all_problems_of_a_section_are_reported_together_each_with_its_path() -> None:
    config = {
        "epochs": 0,
        "inner": {"alpha": 2, "kindd": "mix_input"},
        "steps": [1, -1],
        "note": 3,
        "extra": {},
    }
    assert sorted(lines(config, Outer, "")) == sorted(
        [
            "epochs: expected an integer, at least 1; got 0",
            "inner.alpha: expected a number, at least 0 and at most 1; got 2",
            "inner.kindd: unknown key; did you mean 'kind'?",
            "steps[1]: expected an integer, at least 0; got -1",
            "note: expected a string or null; got 3",
            "extra: unknown key; allowed here: name, epochs, inner, steps, note",
            "name: is missing; expected a string",
        ]
    )


def test_a_correct_section_has_no_problem() -> None:
    assert lines({"name": "a", "epochs": 1, "inner": {"alpha": 0.5}}, Outer, "") == []


@pytest.mark.parametrize("typed", ["epoch", "Epochs", "eopchs"])
def test_a_misspelt_required_key_is_told_once(typed: str) -> None:
    config = {"name": "a", typed: 5, "inner": {"alpha": 1}}
    assert lines(config, Outer, "run") == [f"run.{typed}: unknown key; did you mean 'epochs'?"]


def test_a_section_that_is_no_object_is_told() -> None:
    assert lines([], Outer, "") == ["the configuration: expected an object with keys; got []"]
    config = {"name": "a", "epochs": 1, "inner": None}
    assert lines(config, Outer, "") == ["inner: expected an object with keys; got None"]


def test_an_optional_section_is_told_by_what_is_wrong_inside() -> None:
    assert lines({"alpha": -1}, Inner | None, "mixup") == [
        "mixup.alpha: expected a number, at least 0 and at most 1; got -1"
    ]
    assert lines(None, Inner | None, "mixup") == []
    assert lines(3, Inner | None, "mixup") == ["mixup: expected an object with keys alpha, kind or null; got 3"]


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

"""A configuration against signatures: every kind of disagreement, with its exact path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from utils.config.components import OneOf
from utils.config.ranges import Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from utils.config.schema import problems


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

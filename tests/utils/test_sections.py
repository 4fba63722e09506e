"""Sections are built from their arguments and from what the program supplies, sections within sections too."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from utils.config.components import Component
from utils.config.origins import Origins
from utils.config.parser import ConfigParser
from utils.config.ranges import Fraction, PositiveInt
from utils.config.schema import construct, problems
from utils.config.sections import Section, argument_of, build
from utils.errors import ConfigError

CONTEXT = frozenset({"seed", "epochs"})
THINGS = Component(("tests_things",), base="tests_things.Thing", injected=CONTEXT, default="Plain")


class Thing:
    """What the sections of these tests name."""


class Plain(Thing):
    def __init__(self, seed: int, size: PositiveInt = 3) -> None:
        if size > 100:
            raise ValueError(f"a size of {size} is too large\n(and more)")
        self.seed, self.size = seed, size


class Wrapper(Thing):
    def __init__(self, thing: Annotated[Thing, THINGS], decay: Fraction = 0.9) -> None:
        self.thing, self.decay = thing, decay


class Choosy(Thing):
    def __init__(self, first: str, other: Annotated[Thing, THINGS] | None = None, *, epochs: int) -> None:
        self.first, self.other, self.epochs = first, other, epochs


@pytest.fixture(autouse=True)
def _things(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("tests_things")
    vars(module).update(
        Thing=Thing, Plain=Plain, Wrapper=Wrapper, Choosy=Choosy, __all__=["Plain", "Wrapper", "Choosy"]
    )
    monkeypatch.setitem(sys.modules, "tests_things", module)


def built(kind: str, *positional: Any, path: str = "thing", origins: Origins | None = None, **args: Any) -> Any:
    context = {"seed": 7, "epochs": 5, "unasked": object()}
    return build(Section(kind, args, origins=origins or Origins()), THINGS, *positional, context=context, path=path)


# --- building ---------------------------------------------------------------------------------------------------


def test_a_constructor_gets_its_arguments_and_what_it_asks_the_program_for() -> None:
    plain = built("Plain", size=4)
    assert type(plain) is Plain
    assert (plain.seed, plain.size) == (7, 4)


def test_what_the_caller_gives_comes_first() -> None:
    choosy = built("Choosy", "first")
    assert (choosy.first, choosy.other, choosy.epochs) == ("first", None, 5)


def test_a_section_within_a_section_is_built_first_and_with_the_same_context() -> None:
    wrapper = built("Wrapper", thing={"type": "Wrapper", "args": {"decay": 0.5, "thing": {"type": "Plain"}}})
    assert (wrapper.decay, wrapper.thing.decay) == (0.9, 0.5)
    assert (wrapper.thing.thing.seed, wrapper.thing.thing.size) == (7, 3)
    assert built("Choosy", "first", other={"type": "Plain"}).other.seed == 7


def test_a_section_that_is_left_out_is_of_the_default_type() -> None:
    assert type(built("Wrapper").thing) is Plain
    assert built("Choosy", "first", other=None).other is None


def test_a_refusal_of_a_constructor_is_one_line_at_its_path_with_its_origin() -> None:
    origins = Origins("x.json")
    with pytest.raises(ConfigError) as caught:
        built("Plain", size=101, origins=origins)
    assert str(caught.value) == "thing: a size of 101 is too large (in x.json)"
    origins.flags["thing.args.thing.args.size"] = "--set"
    with pytest.raises(ConfigError) as caught:
        built("Wrapper", thing={"type": "Plain", "args": {"size": 101}}, origins=origins)
    assert str(caught.value) == "thing.args.thing: a size of 101 is too large (in x.json, with --set)"


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (("Plane", {}), "thing.type: 'Plane' is not one of Plain, Wrapper, Choosy; did you mean 'Plain'?"),
        (("Thing", {}), "thing.type: 'Thing' is not one of Plain, Wrapper, Choosy"),
        (("Plain", {"seed": 1}), "thing.args.seed: is set by the program and can't be set here"),
        (
            ("Wrapper", {"thing": {"type": "Plain", "args": {"seed": 1}}}),
            "thing.args.thing.args.seed: is set by the program and can't be set here",
        ),
    ],
)
def test_what_can_not_be_built_is_told_at_its_path(section: tuple[str, dict[str, Any]], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(section[0], **section[1])
    assert str(caught.value) == line


def test_an_argument_is_the_sections_or_the_constructors_default() -> None:
    assert argument_of(Section("Plain", {"size": 5}), THINGS, "size") == 5
    assert argument_of(Section("Plain"), THINGS, "size") == 3
    assert argument_of(Section("Plain"), THINGS, "width") is None


# --- checking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "lines"),
    [
        ({"type": "Wrapper"}, []),
        ({"type": "Wrapper", "args": {"thing": {"type": "Plain"}}}, []),
        ({"type": "Choosy", "args": {"first": "a", "other": None}}, []),
        (
            {"type": "Wrapper", "args": {"decay": 2, "thing": {"type": "Plain", "args": {"size": 0, "seed": 3}}}},
            [
                "thing.args.decay: expected a number, at least 0 and at most 1; got 2",
                "thing.args.thing.args.size: expected an integer, at least 1; got 0",
                "thing.args.thing.args.seed: is set by the program and can't be set here",
            ],
        ),
        (
            {"type": "Wrapper", "args": {"thing": {"type": "Wrapper", "args": {"thing": {"type": "Plein"}}}}},
            [
                "thing.args.thing.args.thing.type: 'Plein' is not one of Plain, Wrapper, Choosy; did you mean 'Plain'?",
            ],
        ),
        (
            {"type": "Wrapper", "args": {"thing": "Plain"}},
            ["thing.args.thing: expected an object with keys; got 'Plain'"],
        ),
    ],
)
def test_sections_within_sections_are_checked_with_their_paths(section: Any, lines: list[str]) -> None:
    assert [str(problem) for problem in problems(section, Annotated[Section, THINGS], "thing")] == lines


# --- typed values -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extras:
    tau_min: float | None = None
    loud: bool = False


@dataclass(frozen=True)
class Inner:
    alpha: float = 1.0
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Whole:
    thing: Annotated[Section, Component(("tests_things",), base="tests_things.Thing", injected=CONTEXT, extras=Extras)]
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    pair: tuple[float, ...] = ()
    others: dict[str, Annotated[Section, THINGS]] = field(default_factory=dict)


def test_a_value_becomes_what_its_type_hint_says_with_every_default_filled_in() -> None:
    whole = construct({"thing": {"type": "Plain", "args": {"size": 2}}, "inner": {"alpha": 2}}, Whole)
    assert whole == Whole(
        thing=Section("Plain", {"size": 2}, {"tau_min": None, "loud": False}), inner=Inner(alpha=2.0, kind="a")
    )
    assert type(whole.inner.alpha) is float


def test_what_is_within_optional_values_lists_and_objects_is_typed_too() -> None:
    others = {"unlabelled": {"type": "Plain"}}
    content = {"thing": {"type": "Plain", "tau_min": 1}, "maybe": {"kind": "b"}, "pair": [1, 2], "others": others}
    assert problems(content, Whole, "") == []
    whole = construct(content, Whole)
    assert whole.maybe == Inner(kind="b")
    assert whole.pair == (1.0, 2.0)
    assert whole.thing.extras == {"tau_min": 1.0, "loud": False}
    assert whole.others == {"unlabelled": Section("Plain")}


def test_named_sections_are_checked_under_their_names() -> None:
    content = {"thing": {"type": "Plain"}, "others": {"a": {"type": "Plain", "args": {"sise": 1}}, "b.c": 3}}
    assert [str(problem) for problem in problems(content, Whole, "")] == [
        "others.a.args.sise: unknown key; did you mean 'size'?",
        'others."b.c": expected an object with keys; got 3',
    ]


def test_a_typed_section_keeps_where_it_was_set() -> None:
    parser = ConfigParser({"thing": {"type": "Plain", "args": {"size": 101}}}, source="x.json")
    whole = construct(parser.config, Whole, origins=parser.origins)
    with pytest.raises(ConfigError, match=r"^thing: .* \(in x\.json\)$"):
        build(whole.thing, THINGS, context={"seed": 1}, path="thing")


def test_the_plain_data_stay_as_they_were() -> None:
    content = {"thing": {"type": "Plain", "args": {"size": 2}}}
    whole = construct(content, Whole)
    whole.thing.with_args(size=3)
    assert whole.thing.args == {"size": 2}
    assert content == {"thing": {"type": "Plain", "args": {"size": 2}}}

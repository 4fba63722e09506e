"""No number of an optimiser or a schedule is taken that has no meaning, whether PyTorch itself refuses it or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.trainer.small_runs import small_config
from trainer.config.components import LR_SCHEDULER, OPTIMIZER
from trainer.config.rules import UNFIT_OPTIMIZERS
from trainer.config.run_config import find_problems
from utils.config.components import Argument, fields_of

REQUIRED: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 3},
    "MultiStepLR": {"milestones": [3]},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 3},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 100},
    "CustomLR": {"step1": 1, "step2": 2},
    "ReduceLROnPlateau": {"mode": "max"},
}
NO_JSON = {"LambdaLR", "MultiplicativeLR"}  # they ask for functions
OF_SCHEDULES = {"SequentialLR", "ChainedScheduler"}
MAY_BE_NEGATIVE = {("Adafactor", "beta2_decay")}  # an exponent that is negative by definition
SHARES = {"momentum", "dampening", "alpha", "rho", "betas", "base_momentum", "max_momentum", "pct_start", "factor"}


def is_number(argument: Argument, required: Any) -> bool:
    sample = required if required is not None else argument.default
    sample = sample[-1] if isinstance(sample, tuple | list) and sample else sample
    return (isinstance(sample, int | float) and not isinstance(sample, bool)) or sample is None


def numbers() -> Iterator[tuple[str, str, str, Any]]:
    """(section, type, argument, what it must be or else is by default) of everything that takes numbers."""
    for section, component in (("optimizer", OPTIMIZER), ("lr_scheduler", LR_SCHEDULER)):
        for kind, constructor in component.choices().items():
            if kind in UNFIT_OPTIMIZERS or kind in NO_JSON or kind in OF_SCHEDULES:
                continue
            for name, argument in fields_of(constructor).items():
                given = REQUIRED.get(kind, {}).get(name)
                if name not in component.injected and is_number(argument, given):
                    yield section, kind, name, argument.default if given is None else given


NUMBERS = list(numbers())


def problems_of(section: str, kind: str, name: str, value: Any) -> list[str]:
    args = {**REQUIRED.get(kind, {}), name: value}
    if kind == "OneCycleLR" and name == "total_steps":
        args = {"max_lr": 0.1, "total_steps": value}
    config = small_config(trainer__validate=True, trainer__monitor="max val_accuracy", metrics=["accuracy"])
    return [str(problem) for problem in find_problems({**config, section: {"type": kind, "args": args}})]


def in_place_of(sample: Any, value: float) -> Any:
    return [value] * len(sample) if isinstance(sample, tuple | list) else value


@pytest.mark.parametrize(("section", "kind", "name", "sample"), NUMBERS, ids=lambda value: str(value)[:20])
def test_a_negative_number_is_refused(section: str, kind: str, name: str, sample: Any) -> None:
    told = problems_of(section, kind, name, in_place_of(sample, -3))
    assert bool(told) != ((kind, name) in MAY_BE_NEGATIVE)
    assert all(line.startswith(section) and "\n" not in line for line in told)


@pytest.mark.parametrize(
    ("section", "kind", "name", "sample"),
    [entry for entry in NUMBERS if entry[2] in SHARES],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("value", [1.5, 2**63])
def test_a_share_is_at_most_1(section: str, kind: str, name: str, sample: Any, value: float) -> None:
    assert problems_of(section, kind, name, in_place_of(sample, value)) != []


@pytest.mark.parametrize(("section", "kind", "name", "sample"), NUMBERS, ids=lambda value: str(value)[:20])
def test_what_pytorch_has_as_default_is_taken(section: str, kind: str, name: str, sample: Any) -> None:
    assert problems_of(section, kind, name, list(sample) if isinstance(sample, tuple) else sample) == []


def test_the_range_is_told_at_the_argument() -> None:
    assert problems_of("lr_scheduler", "CosineAnnealingLR", "T_max", -3) == [
        "lr_scheduler.args.T_max: expected an integer, at least 1; got -3"
    ]
    assert problems_of("optimizer", "SGD", "momentum", 2**62) == [
        f"optimizer.args.momentum: expected a number, at least 0 and at most 1; got {2**62}"
    ]


def test_schedules_within_a_schedule_are_looked_at_too() -> None:
    part = {"type": "StepLR", "args": {"step_size": -1}}
    chain = {"type": "ChainedScheduler", "args": {"schedulers": [part]}}
    (told,) = find_problems(small_config(lr_scheduler=chain))
    assert told.path == "lr_scheduler.args.schedulers[0].args.step_size"

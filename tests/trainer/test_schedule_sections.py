"""Sections of schedules: mistakes in them and within their parts, and lengths that don't fit the run."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.trainer.small_runs import small_config
from trainer.config.config_warnings import find_config_warnings
from trainer.config.run_config import RunConfig, find_problems, run_config
from utils.config.parser import ConfigParser

PLATEAU: dict[str, Any] = {"type": "ReduceLROnPlateau", "args": {"mode": "max"}}
WARM_UP: dict[str, Any] = {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 5}}
COSINE: dict[str, Any] = {"type": "CosineAnnealingLR", "args": {"T_max": 7}}
ONE_CYCLE: dict[str, Any] = {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 99}}


def sequence(schedulers: list[dict[str, Any]], milestones: list[int]) -> dict[str, Any]:
    args = {"schedulers": schedulers, "milestones": milestones}
    return {"lr_scheduler": {"type": "SequentialLR", "args": args}}


def chain(schedulers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"lr_scheduler": {"type": "ChainedScheduler", "args": {"schedulers": schedulers}}}


# changes to a sound configuration, the path that the one line begins with, and a word that it must hold
MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a schedule that lacks its rate": ({"lr_scheduler": {"type": "OneCycleLR"}}, "lr_scheduler.args.max_lr", "missing"),
    "a schedule that counts seconds": ({"lr_scheduler__step_unit": "second"}, "lr_scheduler.step_unit", "'step'"),
    "a plateau of steps": (
        {
            "lr_scheduler": {"type": "ReduceLROnPlateau", "step_unit": "step"},
            "trainer__monitor": "min val_loss",
            "trainer__validate": True,
        },
        "lr_scheduler.step_unit",
        "each epoch",
    ),
    "milestones that don't ascend": (sequence([WARM_UP, COSINE, COSINE], [5, 5]), "lr_scheduler", "[5, 5]"),
    "a milestone too many": (sequence([WARM_UP, COSINE], [5, 9]), "lr_scheduler", "milestone"),
    "a milestone of nothing": (sequence([WARM_UP, COSINE], [0]), "lr_scheduler.args.milestones[0]", "at least 1"),
    "a part of an unknown type": (
        sequence([WARM_UP, {"type": "CosineLR"}], [5]),
        "lr_scheduler.args.schedulers[1].type",
        "CosineAnnealingLR",
    ),
    "a part that lacks its length": (
        sequence([WARM_UP, {"type": "CosineAnnealingLR"}], [5]),
        "lr_scheduler.args.schedulers[1].args.T_max",
        "missing",
    ),
    "a part of a negative length": (
        sequence([WARM_UP, {"type": "CosineAnnealingLR", "args": {"T_max": -3}}], [5]),
        "lr_scheduler.args.schedulers[1].args.T_max",
        "at least 1",
    ),
    "a part that counts by itself": (
        sequence([{**WARM_UP, "step_unit": "step"}, COSINE], [5]),
        "lr_scheduler.args.schedulers[0].step_unit",
        "unknown key",
    ),
    "an optimiser for a part": (
        sequence([{"type": "LinearLR", "args": {"optimizer": 1}}, COSINE], [5]),
        "lr_scheduler.args.schedulers[0].args.optimizer",
        "program",
    ),
    "a cycle within a sequence": (sequence([WARM_UP, ONE_CYCLE], [5]), "lr_scheduler", "OneCycleLR"),
    "a plateau within a sequence": (sequence([WARM_UP, PLATEAU], [5]), "lr_scheduler", "ReduceLROnPlateau"),
    "a sequence within a sequence": (
        sequence([WARM_UP, sequence([WARM_UP, COSINE], [5])["lr_scheduler"]], [5]),
        "lr_scheduler",
        "nested once",
    ),
    "a chain of which the last sets the rate": (
        chain([WARM_UP, {"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 5}}]),
        "lr_scheduler",
        "CosineAnnealingWarmRestarts sets the rate",
    ),
    "a chain of nothing": (chain([]), "lr_scheduler", "at least one"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_at_its_path(mistake: str) -> None:
    changes, path, word = MISTAKES[mistake]
    (found,) = find_problems(small_config(**changes))
    assert found.path == path
    assert word in found.message
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1}}},
        {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "pct_start": 0.1}}, "trainer__epochs": 10},
        sequence([WARM_UP, COSINE, {"type": "CustomLR", "args": {"step1": 3, "step2": 5}}], [5, 9]),
        sequence([WARM_UP, {"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 5}}], [5]),
        chain([WARM_UP, COSINE]),
    ],
)
def test_sound_sections_pass(changes: dict[str, Any]) -> None:
    assert find_problems(small_config(**changes)) == []


# -- lengths of schedules, in a run of 20 epochs of 10 steps ----------------------------------------------------------


def of_20_epochs(schedule: dict[str, Any]) -> RunConfig:
    config = small_config(trainer__epochs=20, lr_scheduler=schedule)
    return run_config(ConfigParser(config, source="a test"))


ARGS = "lr_scheduler.args"
PARTS = f"{ARGS}.schedulers"


def schedule_of(kind: str, unit: str | None = None, **args: Any) -> dict[str, Any]:
    return {"type": kind, "args": args, "step_unit": unit}


def part_of(kind: str, **args: Any) -> dict[str, Any]:
    return {"type": kind, "args": args}


def sequence_of(warm_up: int, milestone: int, half: int, unit: str) -> dict[str, Any]:
    parts = [part_of("LinearLR", total_iters=warm_up), part_of("CosineAnnealingLR", T_max=half)]
    return schedule_of("SequentialLR", unit, schedulers=parts, milestones=[milestone])


def chain_of(warm_up: int, half: int, unit: str) -> dict[str, Any]:
    parts = [part_of("LinearLR", total_iters=warm_up), part_of("CosineAnnealingLR", T_max=half)]
    return schedule_of("ChainedScheduler", unit, schedulers=parts)


@pytest.mark.parametrize(
    ("schedule", "path", "both"),
    [
        (schedule_of("CosineAnnealingLR", "step", T_max=20), f"{ARGS}.T_max", "20 against 200 steps .20 epochs of 10."),
        (schedule_of("CosineAnnealingLR", T_max=200), f"{ARGS}.T_max", "200 against 20 epochs"),
        (schedule_of("OneCycleLR", max_lr=1.0, total_steps=300), f"{ARGS}.total_steps", "300 against 200 steps"),
        (
            schedule_of("OneCycleLR", max_lr=1.0, epochs=30, steps_per_epoch=10),
            f"{ARGS}.epochs",
            "300 against 200 steps",
        ),
        (schedule_of("OneCycleLR", "epoch", max_lr=1.0, total_steps=200), f"{ARGS}.total_steps", "200 against 20 epo"),
        (schedule_of("MultiStepLR", milestones=[5, 20]), f"{ARGS}.milestones", "20 is never reached in 20 epochs"),
        (schedule_of("MultiStepLR", "step", milestones=[100, 250]), f"{ARGS}.milestones", "250 .* 200 steps"),
        (schedule_of("StepLR", step_size=30), f"{ARGS}.step_size", "30 is never reached in 20 epochs"),
        (schedule_of("LinearLR", "step", total_iters=500), f"{ARGS}.total_iters", "500 against 200 steps"),
        (schedule_of("CosineAnnealingWarmRestarts", "step", T_0=300), f"{ARGS}.T_0", "0 to 300 .* 200 steps"),
        (schedule_of("CosineAnnealingWarmRestarts", T_0=4, T_mult=2), f"{ARGS}.T_0", "12 to 28 .* 20 epochs"),
        (schedule_of("CyclicLR", base_lr=0.1, max_lr=1.0), f"{ARGS}.step_size_up", "0 to 4000 .* 200 steps"),
        (
            schedule_of("CyclicLR", base_lr=0.1, max_lr=1.0, step_size_up=30),
            f"{ARGS}.step_size_up",
            "180 to 240 .* 200",
        ),
        (schedule_of("CustomLR", "step", step1=160, step2=201), f"{ARGS}.step2", "201 is never reached in 200 steps"),
        (sequence_of(50, 50, 200, "step"), f"{PARTS}\\[1\\].args.T_max", "200 against 150 steps .from 50 to 200."),
        (sequence_of(60, 50, 150, "step"), f"{PARTS}\\[0\\].args.total_iters", "60 against 50 steps .from 0 to 50."),
        (sequence_of(5, 30, 15, "epoch"), f"{ARGS}.milestones", "30 is never reached in 20 epochs"),
        (chain_of(50, 20, "step"), f"{PARTS}\\[1\\].args.T_max", "20 against 200 steps"),
    ],
)
def test_a_length_that_does_not_fit_the_run_is_one_line_with_both_numbers(
    schedule: dict[str, Any], path: str, both: str
) -> None:
    config = of_20_epochs(schedule)
    (doubt,) = find_config_warnings(config, steps_per_epoch=10)
    assert re.match(f"{path}: .*{both}", str(doubt)), doubt


@pytest.mark.parametrize(
    "schedule",
    [
        schedule_of("CosineAnnealingLR", "step", T_max=200),
        schedule_of("CosineAnnealingLR", "step", T_max=199),
        schedule_of("OneCycleLR", max_lr=1.0),
        schedule_of("OneCycleLR", max_lr=1.0, total_steps=200),
        schedule_of("OneCycleLR", "epoch", max_lr=1.0),
        schedule_of("MultiStepLR", "step", milestones=[100, 199]),
        schedule_of("CosineAnnealingWarmRestarts", T_0=4, T_mult=4),
        schedule_of("CosineAnnealingWarmRestarts", "step", T_0=50),
        schedule_of("CyclicLR", base_lr=0.1, max_lr=1.0, step_size_up=20, step_size_down=30),
        schedule_of("ExponentialLR", "step", gamma=0.99),
        sequence_of(50, 50, 150, "step"),
        chain_of(50, 200, "step"),
    ],
)
def test_a_length_that_fits_the_run_is_not_doubted(schedule: dict[str, Any]) -> None:
    config = of_20_epochs(schedule)
    assert find_config_warnings(config, steps_per_epoch=10) == []


def test_before_the_data_are_known_nothing_is_said_of_a_schedule_of_steps() -> None:
    schedule = schedule_of("CosineAnnealingLR", "step", T_max=20)
    assert find_config_warnings(of_20_epochs(schedule)) == []

"""Learning rates, against the factors written down and against an independent formula."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
import torch

from trainer.config.components import LR_SCHEDULER
from trainer.engine.rate_schedule import RateSchedule, build_rate_schedule
from trainer.engine.schedules import CustomLR
from utils.config.schema import construct
from utils.config.sections import Section
from utils.errors import ConfigError

BASE = 0.1


def rates(schedule_of, epochs: int, bases: tuple[float, ...] = (BASE,)) -> list[list[float]]:
    """The rate of every parameter group in each epoch."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": base} for base in bases]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    schedule = schedule_of(optimizer)
    found = []
    for _ in range(epochs):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return found


STANDARD = {"step1": 160, "step2": 180, "gamma": 0.1, "warmup_epoch": 5}
LONG = {"step1": 320, "step2": 360, "gamma": 0.1, "warmup_epoch": 10}


@pytest.mark.parametrize(
    ("arguments", "epochs", "factors"),
    [
        (STANDARD, 200, {0: 0.2, 3: 0.8, 4: 1, 5: 1, 159: 1, 160: 0.1, 179: 0.1, 180: 0.01, 199: 0.01}),
        (LONG, 400, {0: 0.1, 8: 0.9, 9: 1, 10: 1, 319: 1, 320: 0.1, 359: 0.1, 360: 0.01, 399: 0.01}),
    ],
)
def test_custom_lr_at_each_boundary_of_the_recipes(
    arguments: dict[str, float], epochs: int, factors: dict[int, float]
) -> None:
    found = rates(lambda optimizer: CustomLR(optimizer, **arguments), epochs)
    for epoch, factor in factors.items():
        assert found[epoch][0] == pytest.approx(BASE * factor, rel=1e-12), epoch


@pytest.mark.parametrize(("arguments", "epochs"), [(STANDARD, 200), (LONG, 400)])
def test_custom_lr_is_constant_warm_up_times_multi_step_of_torch(arguments: dict[str, float], epochs: int) -> None:
    """Torch's own parts: a linear ramp from 1/w over w − 1 epochs, and decays at milestones."""
    warmup = arguments["warmup_epoch"]
    decay = rates(
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [arguments["step1"], arguments["step2"]]),
        epochs,
    )
    ramp = rates(
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1), epochs
    )
    expected = [d[0] * r[0] / BASE for d, r in zip(decay, ramp, strict=True)]
    found = [rate[0] for rate in rates(lambda optimizer: CustomLR(optimizer, **arguments), epochs)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_custom_lr_scales_each_groups_own_rate() -> None:
    found = rates(lambda o: CustomLR(o, step1=2, step2=3, gamma=0.5, warmup_epoch=0), 4, bases=(1.0, 0.01))
    assert found == [[1, 0.01], [1, 0.01], [0.5, 0.005], [0.25, 0.0025]]


def test_warm_up_zero_begins_with_the_base_rate() -> None:
    assert rates(lambda o: CustomLR(o, step1=10, step2=20, warmup_epoch=0), 1) == [[BASE]]


def test_warm_up_and_decay_multiply_where_they_overlap() -> None:
    found = rates(lambda o: CustomLR(o, step1=1, step2=2, gamma=0.1, warmup_epoch=4), 5, bases=(1.0,))
    assert [rate[0] for rate in found] == pytest.approx([0.25, 0.05, 0.0075, 0.01, 0.01])


def test_custom_lr_continues_where_its_state_was_taken() -> None:
    def schedule(optimizer: torch.optim.Optimizer) -> CustomLR:
        return CustomLR(optimizer, step1=3, step2=5, warmup_epoch=2)

    whole = [rate[0] for rate in rates(schedule, 8)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    first = schedule(optimizer)
    for _ in range(4):
        optimizer.step()
        first.step()
    fresh = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    second = schedule(fresh)
    second.load_state_dict(first.state_dict())
    fresh.load_state_dict(optimizer.state_dict())
    rest = []
    for _ in range(4):
        rest.append(fresh.param_groups[0]["lr"])
        fresh.step()
        second.step()
    assert rest == pytest.approx(whole[4:])


@pytest.mark.parametrize("epochs", [180, 100, 400])
def test_cosine_of_the_recipes_falls_from_the_base_rate_to_zero(epochs: int) -> None:
    found = rates(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=epochs, eta_min=0), epochs, bases=(0.025,)
    )
    expected = [0.025 * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs)]
    assert [rate[0] for rate in found] == pytest.approx(expected, abs=1e-9)
    assert all(a > b for (a,), (b,) in itertools.pairwise(found))


# -- built from a section ---------------------------------------------------------------------------------------------


def built(section: Mapping[str, Any], epochs: int = 4, steps_per_epoch: int = 3) -> RateSchedule:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE, momentum=0.9)
    typed = construct(section, Annotated[Section, LR_SCHEDULER])
    return build_rate_schedule(typed, optimizer, epochs=epochs, steps_per_epoch=steps_per_epoch)


@pytest.mark.parametrize(
    ("kind", "key", "unit"),
    [
        ("OneCycleLR", None, "step"),
        ("OneCycleLR", "epoch", "epoch"),
        ("CosineAnnealingLR", None, "epoch"),
        ("CosineAnnealingLR", "step", "step"),
    ],
)
def test_what_a_schedule_counts_and_which_default_is_told_in_one_line(
    caplog: pytest.LogCaptureFixture, kind: str, key: str | None, unit: str
) -> None:
    args = {"max_lr": 0.5} if kind == "OneCycleLR" else {"T_max": 9}
    with caplog.at_level("INFO"):
        schedule = built({"type": kind, "args": args, "step_unit": key})
    assert schedule.unit == unit
    told = [record.getMessage() for record in caplog.records]
    line = f"OneCycleLR moves on after each {unit} (lr_scheduler.step_unit), and sets the rate"
    assert len(told) == (kind == "OneCycleLR")
    assert all(each.startswith(line) for each in told)


@pytest.mark.parametrize(
    ("args", "unit", "total"),
    [
        ({}, None, 12),
        ({}, "epoch", 4),
        ({"total_steps": None}, None, 12),
        ({"total_steps": 20}, None, 20),
        ({"epochs": 5}, None, 15),
        ({"steps_per_epoch": 7}, None, 28),
        ({"epochs": 6, "steps_per_epoch": 7}, None, 42),
    ],
)
def test_one_cycle_is_as_long_as_the_run_where_it_does_not_say(
    args: dict[str, Any], unit: str | None, total: int
) -> None:
    schedule = built({"type": "OneCycleLR", "args": {"max_lr": 0.5, **args}, "step_unit": unit})
    assert schedule.schedule.total_steps == total  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("args", "unit", "told"),
    [
        ({"total_steps": 11}, None, "ends after 11 steps, and the run has 12; leave total_steps out, or set step_unit"),
        ({"total_steps": 3}, "epoch", "ends after 3 epochs, and the run has 4; leave total_steps out"),
        ({"epochs": 3}, None, "ends after 9 steps, and the run has 12"),
        ({"pct_start": 0.25}, "epoch", "OneCycleLR can't be of 4 epochs"),  # torch divides by 0.25 · 4 − 1
    ],
)
def test_one_cycle_that_is_over_before_the_run_is_refused(args: dict[str, Any], unit: str | None, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        built({"type": "OneCycleLR", "args": {"max_lr": 0.5, **args}, "step_unit": unit})
    (problem,) = refused.value.problems
    assert problem.path == "lr_scheduler"
    assert told in problem.message

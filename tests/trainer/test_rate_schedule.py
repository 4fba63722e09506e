"""Schedules that move on by steps: the rate and the momentum of each update, against the papers' formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from base import Batch, Step
from tests.trainer.small_runs import run, small_config, small_trainer, with_changes
from tests.trainer.stopped_runs import assert_same_runs, curves, run_with_stops
from trainer.trainer import Trainer
from utils.errors import ConfigError
from utils.files.checkpoint import load_checkpoint

EPOCHS, STEPS = 4, 3  # 78 images: batches of 30, 30 and 18
RUN = EPOCHS * STEPS
LOW, BASE = 0.85, 0.05  # OneCycleLR's least momentum; the optimiser's rate
Formula = Callable[[int], float]
"""Step of the run, from 0 → rate, or momentum."""


pytestmark = pytest.mark.usefixtures("_quick_throughout")


# -- the papers' formulas ---------------------------------------------------------------------------------------------


def half_cosine(begin: float, end: float, part: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * part)) / 2


def one_cycle(begin: float, middle: float, end: float, total: int) -> Formula:
    """Up by half a cosine over the first 30 %, down over the rest."""
    top = 0.3 * total - 1

    def value(step: int) -> float:
        if step <= top:
            return half_cosine(begin, middle, step / top)
        return half_cosine(middle, end, (step - top) / (total - 1 - top))

    return value


def triangle(low: float, high: float, half: int) -> Formula:
    return lambda step: high - (high - low) * abs(step % (2 * half) - half) / half


def restarts(step: int) -> float:
    """Cycles of 4 and 8 steps."""
    return half_cosine(BASE, 0.001, step / 4 if step < 4 else (step - 4) / 8)


def warm_up_then_cosine(step: int) -> float:
    return BASE * (0.25 + 0.75 * step / 4) if step < 4 else half_cosine(BASE, 0.0, (step - 4) / 8)


def warm_up_times_cosine(step: int) -> float:
    return half_cosine(BASE, 0.0, step / RUN) * (0.25 + 0.75 * min(step / 4, 1))


WARM_UP = {"type": "LinearLR", "args": {"start_factor": 0.25, "total_iters": 4}}
SCHEDULES: dict[str, tuple[dict[str, Any], Formula, Formula]] = {
    "OneCycleLR": (
        {"type": "OneCycleLR", "args": {"max_lr": 0.5}},
        one_cycle(0.02, 0.5, 2e-6, RUN),
        one_cycle(0.95, LOW, 0.95, RUN),
    ),
    "OneCycleLR of the rate alone": (
        {"type": "OneCycleLR", "args": {"max_lr": 0.5, "total_steps": RUN, "cycle_momentum": False}},
        one_cycle(0.02, 0.5, 2e-6, RUN),
        lambda step: 0.9,
    ),
    "CyclicLR": (
        {"type": "CyclicLR", "args": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}},
        triangle(0.01, 0.1, 3),
        lambda step: 1.7 - triangle(0.8, 0.9, 3)(step),
    ),
    "warm restarts": (
        {
            "type": "CosineAnnealingWarmRestarts",
            "args": {"T_0": 4, "T_mult": 2, "eta_min": 0.001},
            "step_unit": "step",
        },
        restarts,
        lambda step: 0.9,
    ),
    "warm-up, then cosine": (
        {
            "type": "SequentialLR",
            "args": {
                "schedulers": [WARM_UP, {"type": "CosineAnnealingLR", "args": {"T_max": RUN - 4}}],
                "milestones": [4],
            },
            "step_unit": "step",
        },
        warm_up_then_cosine,
        lambda step: 0.9,
    ),
    "warm-up times cosine": (
        {
            "type": "ChainedScheduler",
            "args": {"schedulers": [WARM_UP, {"type": "CosineAnnealingLR", "args": {"T_max": RUN}}]},
            "step_unit": "step",
        },
        warm_up_times_cosine,
        lambda step: 0.9,
    ),
}


def config_of(schedule: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    layers = {"arch__args__layer2_output_dim": 8, "arch__args__layer3_output_dim": 8}
    return small_config(
        lr_scheduler=dict(schedule), trainer__epochs=EPOCHS, data_loader__args__batch_size=30, **layers, **changes
    )


class Updates:
    """Notes the rate and the momentum of each update of a trainer, by its step of the run."""

    def __init__(self, trainer: Trainer) -> None:
        self.rates: dict[int, float] = {}
        self.momenta: dict[int, float] = {}
        self.step = -1
        step_of = trainer.train_step

        def train_step(batches: Mapping[str, Batch], step: Step) -> None:
            self.step = (step.epoch - 1) * STEPS + step.index
            step_of(batches, step)

        trainer.train_step = train_step  # type: ignore[method-assign]
        trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: self.note(optimizer.param_groups[0]))

    def note(self, group: Mapping[str, Any]) -> None:
        self.rates[self.step] = group["lr"]
        self.momenta[self.step] = group["betas"][0] if "betas" in group else group["momentum"]


def updates_of(folder: Path, config: Mapping[str, Any], **more: Any) -> Updates:
    trainer = small_trainer(folder, config, **more)
    updates = Updates(trainer)
    trainer.train()
    return updates


# -- what the updates are made with -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_update_has_the_papers_rate_and_momentum_and_the_log_has_the_rate_that_was_used(
    tmp_path: Path, name: str
) -> None:
    schedule, rate, momentum = SCHEDULES[name]
    updates = updates_of(tmp_path, config_of(schedule))
    assert [updates.rates[step] for step in range(RUN)] == pytest.approx([rate(step) for step in range(RUN)], abs=1e-12)
    assert [updates.momenta[step] for step in range(RUN)] == pytest.approx([momentum(step) for step in range(RUN)])
    last_of_epochs = [updates.rates[epoch * STEPS - 1] for epoch in range(1, EPOCHS + 1)]
    history = load_checkpoint(tmp_path / f"checkpoint-epoch{EPOCHS}.pth")["progress"]["history"]
    assert [line["lr"] for line in history] == last_of_epochs
    assert [value for _, value in curves(tmp_path)["lr"]] == pytest.approx(last_of_epochs)


def test_the_beta_of_adam_is_cycled(tmp_path: Path) -> None:
    adam = {"type": "Adam", "args": {"lr": 0.001, "betas": [0.9, 0.99]}}
    updates = updates_of(tmp_path, config_of(SCHEDULES["OneCycleLR"][0], optimizer=adam))
    expected = one_cycle(0.95, LOW, 0.95, RUN)
    assert [updates.momenta[step] for step in range(RUN)] == pytest.approx([expected(step) for step in range(RUN)])


def test_micro_batches_are_no_steps(tmp_path: Path) -> None:
    schedule = SCHEDULES["OneCycleLR"][0]
    whole = updates_of(tmp_path / "whole", config_of(schedule))
    parts = updates_of(tmp_path / "parts", config_of(schedule, trainer__accumulate_steps=3))
    assert parts.rates == whole.rates


def test_a_skipped_step_counts_so_that_the_schedule_ends_with_the_run(tmp_path: Path) -> None:
    config = config_of(SCHEDULES["OneCycleLR"][0], trainer__on_nonfinite="skip")
    trainer = small_trainer(tmp_path, config)
    updates, criterion = Updates(trainer), trainer.method.criterion
    loss_of = criterion.forward
    criterion.forward = lambda *given, **more: loss_of(*given, **more) * (math.nan if updates.step == 4 else 1)
    trainer.train()
    rate = one_cycle(0.02, 0.5, 2e-6, RUN)
    expected = {step: rate(step) for step in range(RUN) if step != 4}
    assert updates.rates == pytest.approx(expected, abs=1e-12)
    assert trainer.state.skipped_steps == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_stopped_within_epochs_and_validation_ends_with_the_same_bits(tmp_path: Path, name: str) -> None:
    config = config_of(SCHEDULES[name][0], trainer__validate=True)
    stops = {(0, 1, 0), (1, 2, 0), (2, 3, 1), (3, 3, 0)}
    run(tmp_path / "whole", config)
    assert run_with_stops(tmp_path / "parts", config, set(stops)) == 1 + len(stops)
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")


# -- continued with another schedule ----------------------------------------------------------------------------------


def begun(folder: Path, epochs: int, schedule: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """A checkpoint after so many epochs of a run, and its configuration."""
    config = with_changes(config_of(schedule), {"trainer.epochs": epochs})
    run(folder, config)
    return folder / f"checkpoint-epoch{epochs}.pth", config


@pytest.mark.parametrize("name", SCHEDULES)
def test_another_schedule_takes_over_at_the_step_reached(tmp_path: Path, name: str) -> None:
    checkpoint, _ = begun(tmp_path / "old", 2, {"type": "CosineAnnealingLR", "args": {"T_max": 2}})
    schedule, rate, momentum = SCHEDULES[name]
    updates = updates_of(tmp_path / "new", config_of(schedule), resume=checkpoint)
    left = range(2 * STEPS, RUN)
    assert updates.rates == pytest.approx({step: rate(step) for step in left}, abs=1e-12)
    assert updates.momenta == pytest.approx({step: momentum(step) for step in left})


def test_more_epochs_make_the_cycle_longer(tmp_path: Path) -> None:
    checkpoint, _ = begun(tmp_path / "old", 2, SCHEDULES["OneCycleLR"][0])
    updates = updates_of(tmp_path / "new", config_of(SCHEDULES["OneCycleLR"][0]), resume=checkpoint)
    rate = one_cycle(0.02, 0.5, 2e-6, RUN)
    assert updates.rates == pytest.approx({step: rate(step) for step in range(2 * STEPS, RUN)}, abs=1e-12)


def test_a_schedule_that_counts_epochs_where_it_counted_steps_is_a_changed_one(tmp_path: Path) -> None:
    schedule = {"type": "CosineAnnealingLR", "args": {"T_max": 8}}
    checkpoint, _ = begun(tmp_path / "old", 2, {**schedule, "step_unit": "step"})
    updates = updates_of(tmp_path / "new", config_of(schedule), resume=checkpoint)
    expected = {step: half_cosine(BASE, 0.0, step // STEPS / 8) for step in range(2 * STEPS, RUN)}
    assert updates.rates == pytest.approx(expected)


def test_a_cycle_that_was_over_before_the_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint, _ = begun(tmp_path / "old", 2, SCHEDULES["OneCycleLR"][0])
    short = {"type": "OneCycleLR", "args": {"max_lr": 0.5, "total_steps": 1}, "step_unit": "epoch"}
    with pytest.raises(ConfigError, match="ends after 1 epochs, and the run has 4"):
        small_trainer(tmp_path / "new", config_of(short), resume=checkpoint)

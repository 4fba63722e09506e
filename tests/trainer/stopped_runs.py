"""Runs that are stopped at chosen places and continued, and whether two runs are the same."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.crash_campaign import differences
from tests.trainer.small_runs import small_trainer
from trainer.trainer import Trainer
from utils.files.checkpoint import load_checkpoint
from utils.signals import RunStopped

Place = tuple[int, int, int]
"""Epochs completed, steps of the next, batches validated after them."""


def stop_at(trainer: Trainer, places: set[Place]) -> None:
    """Let a signal arrive at each of the places, once; those that are reached are taken out."""
    between_steps, validate = trainer.between_steps, trainer.validate
    validated = -1

    def stopping() -> None:
        nonlocal validated
        validated += validated >= 0
        place = (trainer.state.epoch, trainer.state.step, max(validated, 0))
        if place in places:
            places.remove(place)
            trainer.signals.received = signal.SIGTERM
        between_steps()

    def counting(epoch: int) -> dict[str, float]:
        nonlocal validated
        validated = 0
        try:
            return validate(epoch)
        finally:
            validated = -1

    trainer.between_steps, trainer.validate = stopping, counting  # type: ignore[method-assign]


def run_with_stops(folder: Path, config: Mapping[str, Any], places: set[Place]) -> int:
    """Train to the end, continuing after each stop from the newest checkpoint; returns how many processes it took."""
    resume, processes = None, 1
    while True:
        trainer = small_trainer(folder, config, resume=resume)
        stop_at(trainer, places)
        try:
            trainer.train()
        except RunStopped as stopped:
            resume = trainer.folder.checkpoints()[0]
            assert str(stopped).endswith(f"continue with: python train.py -r {resume}")
            processes += 1
        else:
            return processes
        finally:  # no reference to itself: the workers are to end here, not when the garbage is collected
            del trainer.between_steps, trainer.validate


def checkpoint_names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.pth")}


def assert_same_runs(one: Path, other: Path) -> None:
    """Every checkpoint that both runs leave: weights, optimiser, schedule, meters, history, best."""
    assert checkpoint_names(one) == checkpoint_names(other)
    for name in checkpoint_names(one):
        assert differences(load_checkpoint(one / name), load_checkpoint(other / name)) == [], name


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve that TensorBoard shows of a run: its points (epoch, value)."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}

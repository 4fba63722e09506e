"""What surrounds the epochs: the best one, early stopping, which checkpoints are written; on scripted values."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from base import BaseTrainer, CheckpointParts, Monitor, RunFolder, RunState, TrainerOptions
from utils.distributed.context import DistributedContext
from utils.files.checkpoint import load_checkpoint

NAN = math.nan
NAMES = ["loss", "val_accuracy", "val_loss"]


class Notes:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.closed = 0
        self.compared: list[str] = []

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        self.lines.append((epoch, dict(values)))

    def hyperparameters(self, scores: Iterable[str]) -> None:
        self.compared = list(scores)

    def close(self) -> None:
        self.closed += 1


class Counter:
    """A part of a run: how many epochs it has seen."""

    def __init__(self) -> None:
        self.epochs = 0

    def state_dict(self) -> dict[str, Tensor]:
        return {"epochs": torch.tensor(float(self.epochs))}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.epochs = int(state["epochs"])


class Scripted(BaseTrainer):
    """Epochs without work whose validation yields given values."""

    def __init__(self, folder: Path, values: Sequence[float], *, monitor: str = "max val_accuracy", **options: Any):
        self.values = values
        self.network = Counter()
        options = {"epochs": len(values), "save_dir": "unused", "validate": True, **options}
        super().__init__(
            options=TrainerOptions(monitor=monitor, **options),
            monitor=Monitor.parse(monitor, NAMES),
            folder=RunFolder(folder),
            recorder=Notes(),
            parts=CheckpointParts(),
            metadata={"class_names": ["a", "b"]},
            state=RunState(),
            distributed=DistributedContext(),
        )
        self.parts.register("state_dict", self.network)
        self.parts.register("progress", self.state)

    def run_epoch(self, epoch: int) -> dict[str, float]:
        self.network.epochs += 1
        validated = {self.monitor.name or "val_accuracy": self.values[epoch - 1]} if self.options.validate else {}
        return {"loss": 1.0, **validated}

    def before_save(self) -> None:
        pass


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.pth")}


@pytest.mark.parametrize(
    ("monitor", "values", "best_epoch", "best"),
    [
        ("max val_accuracy", [0.1, 0.3, 0.2], 2, 0.3),
        ("min val_loss", [2.0, 1.0, 1.5], 2, 1.0),
        ("max val_accuracy", [0.3, 0.3, 0.3], 1, 0.3),  # a tie is no improvement
        ("max val_accuracy", [NAN, 0.1, NAN], 2, 0.1),  # nan is never the best, and does not bar the way
        ("min val_loss", [NAN, 1.0, NAN, 0.5], 4, 0.5),
        ("max val_accuracy", [-0.5, -0.1, -0.2], 2, -0.1),
        ("min val_loss", [0.0, -1.0, 1.0], 2, -1.0),
    ],
)
def test_the_best_epoch_is_kept_as_model_best(
    tmp_path: Path, monitor: str, values: list[float], best_epoch: int, best: float
) -> None:
    trainer = Scripted(tmp_path, values, monitor=monitor)
    trainer.train()
    assert (trainer.state.best_epoch, trainer.state.best) == (best_epoch, best)
    kept = load_checkpoint(tmp_path / "model_best.pth")
    assert kept["epoch"] == best_epoch
    assert kept["monitor_best"] == best
    assert kept["state_dict"] == {"epochs": torch.tensor(float(best_epoch))}


def test_without_a_single_number_there_is_no_best(tmp_path: Path) -> None:
    trainer = Scripted(tmp_path, [NAN, NAN])
    trainer.train()
    assert trainer.state.best is None
    assert "model_best.pth" not in names(tmp_path)


@pytest.mark.parametrize(
    ("monitor", "values", "patience", "last"),
    [
        ("max val_accuracy", [0.5, 0.4, 0.4, 0.9], 2, 3),  # the good epoch comes too late
        ("max val_accuracy", [0.5, 0.4, 0.6, 0.5, 0.5, 0.5], 2, 5),
        ("min val_loss", [1.0, 0.9, 0.8, 0.8], 1, 4),
        ("min val_loss", [1.0, 2.0, 0.5], 1, 2),
        ("max val_accuracy", [0.5, NAN, NAN, 0.9], 2, 3),
        ("max val_accuracy", [0.5, 0.5, 0.5, 0.5], 0, 4),  # 0: never
        ("max val_accuracy", [0.1, 0.2, 0.3], 1, 3),
    ],
)
def test_early_stopping_after_epochs_without_improvement(
    tmp_path: Path, monitor: str, values: list[float], patience: int, last: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trainer = Scripted(tmp_path, values, monitor=monitor, early_stop=patience, save_period=100)
    trainer.train()
    assert trainer.state.epoch == last
    said = [record.getMessage() for record in caplog.records if "Early" in record.getMessage()]
    name = monitor.partition(" ")[2]
    exhausted = patience and last - trainer.state.best_epoch == patience
    assert said == [f"Early stopping: {name} has not improved since epoch {last - patience}."] * bool(exhausted)
    assert f"checkpoint-epoch{last}.pth" in names(tmp_path), "where training ends there is a checkpoint"


def test_with_monitor_off_nothing_is_best_and_nothing_stops(tmp_path: Path) -> None:
    trainer = Scripted(tmp_path, [0.5, 0.4, 0.3], monitor="off", early_stop=1)
    trainer.train()
    assert trainer.state.epoch == 3
    assert "model_best.pth" not in names(tmp_path)


def test_model_best_needs_validation(tmp_path: Path) -> None:
    trainer = Scripted(tmp_path, [0.5, 0.6], validate=False)
    trainer.train()
    assert names(tmp_path) == {"checkpoint-epoch1.pth", "checkpoint-epoch2.pth"}
    assert all("val_accuracy" not in line for line in trainer.state.history)


def test_a_training_quantity_can_be_monitored_without_validation(tmp_path: Path) -> None:
    trainer = Scripted(tmp_path, [0.5, 0.6], monitor="min loss", validate=False)
    trainer.train()
    assert load_checkpoint(tmp_path / "model_best.pth")["epoch"] == 1


@pytest.mark.parametrize(("period", "expected"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (100, [5])])
def test_checkpoints_every_save_period_and_after_the_last_epoch(
    tmp_path: Path, period: int, expected: list[int]
) -> None:
    Scripted(tmp_path, [0.1] * 5, monitor="off", save_period=period).train()
    assert names(tmp_path) == {f"checkpoint-epoch{epoch}.pth" for epoch in expected}


def test_every_epoch_is_recorded_once_and_the_recorder_closed(tmp_path: Path) -> None:
    trainer = Scripted(tmp_path, [0.1, 0.2])
    trainer.train()
    assert trainer.recorder.lines == [
        (1, {"loss": 1.0, "val_accuracy": 0.1}),
        (2, {"loss": 1.0, "val_accuracy": 0.2}),
    ]
    assert trainer.recorder.closed == 1
    assert trainer.recorder.compared == ["loss", "val_accuracy"]
    assert [line["epoch"] for line in trainer.state.history] == [1, 2]


def test_a_checkpoint_holds_the_facts_and_reads_with_plain_torch(tmp_path: Path) -> None:
    Scripted(tmp_path, [0.25]).train()
    content = torch.load(tmp_path / "checkpoint-epoch1.pth", weights_only=True)
    assert content["class_names"] == ["a", "b"]
    assert (content["epoch"], content["monitor_best"]) == (1, 0.25)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    trainer = Scripted(tmp_path, [0.1])
    trainer.state.epoch = 1
    trainer.train()
    assert trainer.network.epochs == 0
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "off"),
        ("max", "max NAME"),
        ("best val_accuracy", "max NAME"),
        ("max val_acuracy", "did you mean 'val_accuracy'"),
        ("max  val_accuracy", "not recorded"),
        ("off now", "off"),
    ],
)
def test_a_monitor_that_can_not_be_read_says_what_it_may_be(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Monitor.parse(text, NAMES)

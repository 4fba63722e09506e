"""What every training run does: epochs, validation, the best epoch, early stopping, checkpoints."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from base.monitor import Monitor
from utils.checkpoint import save_checkpoint
from utils.ranges import NonNegativeInt, PositiveInt
from utils.tensorboard import Recorder

BEST_NAME = "model_best.pth"


class Stateful(Protocol):
    """A part of a run that a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]:
        """Everything a continuation needs."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Section `trainer` of the configuration.

    Args:
        epochs: epochs to train.
        save_dir: folder for runs.
        save_period: a checkpoint every so many epochs; the last epoch always has one.
        verbosity: 0, 1, 2: warnings, info, debug.
        monitor: "off", or "max NAME" / "min NAME": the quantity by which `model_best.pth` is chosen.
        early_stop: end after so many epochs without improvement; 0: never.
        validate: evaluate on the validation split after each epoch.
        wandb: send scalars to Weights & Biases, too.
    """

    epochs: PositiveInt
    save_dir: str
    save_period: PositiveInt = 1
    verbosity: Literal[0, 1, 2] = 2
    monitor: str = "off"
    early_stop: NonNegativeInt = 0
    validate: bool = False
    wandb: bool = False


@dataclass
class RunState:
    """Where a run stands.

    Args:
        epoch: epochs completed.
        step: steps done of the epoch after that.
        best: the best value of the monitored quantity so far.
        stale_epochs: epochs since then.
        history: what each completed epoch logged.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    stale_epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class BaseTrainer(ABC):
    """Runs epochs; what an epoch is belongs to the subclass.

    Args:
        options: section `trainer`.
        monitor: the parsed `options.monitor`.
        folder: the run's folder.
        recorder: where curves go.
        parts: name in the checkpoint → part of the run.
        facts: further plain data that each checkpoint holds (the configuration, class names, …).
        state: where the run stands.
    """

    def __init__(
        self,
        *,
        options: TrainerOptions,
        monitor: Monitor,
        folder: Path,
        recorder: Recorder,
        parts: Mapping[str, Stateful],
        facts: Mapping[str, Any],
        state: RunState,
    ) -> None:
        self.options = options
        self.monitor = monitor
        self.folder = folder
        self.recorder = recorder
        self.parts = parts
        self.facts = facts
        self.state = state
        self.logger = logging.getLogger(type(self).__name__)

    @abstractmethod
    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch (counted from 1) from `state.step` on; returns its means."""

    @abstractmethod
    def validate(self, epoch: int) -> dict[str, float]:
        """Evaluate on the validation split; names begin with `val_`."""

    def train(self) -> None:
        """Run all epochs that are left."""
        begin, begin_epoch = time.monotonic(), self.state.epoch
        while self.state.epoch < self.options.epochs and not self._exhausted():
            epoch = self.state.epoch + 1
            log = self.train_epoch(epoch)
            if self.options.validate:
                log |= self.validate(epoch)
            improved = self._note(epoch, log)
            self.recorder.scalars(log, epoch)
            self._save_if_due(improved)
            left = (time.monotonic() - begin) / (epoch - begin_epoch) * (self.options.epochs - epoch)
            self.logger.info("%s, %s left", self._summary(log), timedelta(seconds=round(left)))
        if self._exhausted():
            self.logger.info("%s has not improved for %d epochs: stopped.", self.monitor.name, self.state.stale_epochs)
        self.recorder.close()

    def _note(self, epoch: int, log: dict[str, float]) -> bool:
        """Enter a finished epoch into the state; returns whether it is the best so far."""
        state = self.state
        state.epoch, state.step = epoch, 0
        state.history.append({"epoch": float(epoch), **log})
        value = log.get(self.monitor.name)
        if value is None:
            return False
        improved = self.monitor.is_better(value, state.best)
        state.best = value if improved else state.best
        state.stale_epochs = 0 if improved else state.stale_epochs + 1
        return improved

    def _exhausted(self) -> bool:
        return bool(self.options.early_stop) and self.state.stale_epochs >= self.options.early_stop

    def _save_if_due(self, improved: bool) -> None:
        epoch = self.state.epoch
        if epoch % self.options.save_period == 0 or epoch == self.options.epochs or self._exhausted():
            self.save(f"checkpoint-epoch{epoch}.pth")
        if improved:
            self.save(BEST_NAME)

    def save(self, name: str) -> Path:
        """Write a checkpoint with everything a continuation needs into the run's folder."""
        path = self.folder / name
        content = {part: stateful.state_dict() for part, stateful in self.parts.items()}
        progress = asdict(self.state)
        save_checkpoint(
            path,
            {**self.facts, "epoch": self.state.epoch, "monitor_best": self.state.best, "progress": progress, **content},
        )
        self.logger.debug("saved %s", path)
        return path

    def _summary(self, log: Mapping[str, float]) -> str:
        values = "  ".join(f"{name} {value:.4g}" for name, value in log.items())
        return f"epoch {self.state.epoch}/{self.options.epochs}  {values}"

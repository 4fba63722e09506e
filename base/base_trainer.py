"""What every training run does: epochs, validation, the best epoch, early stopping, checkpoints, an orderly end."""

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
from base.run_folder import BEST_NAME, RunFolder, checkpoint_name
from utils.config.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt
from utils.distributed.context import Agreement, DistributedContext
from utils.reporting.tensorboard import Recorder
from utils.signals import EXIT_CODES, RunStopped, StopSignals

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16", "auto"]

_LONGEST = 1e10  # seconds: three centuries, more than which no clock shows
_CHECKPOINT_DUE = 1  # what a process asks the others for, unless it is a signal
_SIGNALS = sorted(EXIT_CODES)


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
        checkpoint_minutes: besides, a checkpoint within an epoch every so many minutes; 0: none.
        keep_last: keep this many of the checkpoints at the ends of epochs; 0: all.
        verbosity: 0, 1, 2: warnings, info, debug.
        monitor: "off", or "max NAME" / "min NAME": the quantity by which `model_best.pth` is chosen.
        early_stop: end after so many epochs without improvement; 0: never.
        validate: evaluate on the validation split after each epoch.
        wandb: send scalars to Weights & Biases, too.
        parallel: what several GPUs are used by: "ddp": a process for each, started by the program itself or by
            torchrun; "dp": DataParallel, one process; "none": one GPU.
        sync_batchnorm: BatchNorm's statistics over the images of all processes (GPUs only), not of each alone.
        precision: of the network: "fp32"; "tf32": convolutions in TF32 on GPUs that have it, PyTorch's own default;
            "bf16" or "fp16" by autocast; "auto": the fastest that is safe on the device. Losses, log-priors and the
            cosine classifier are computed in float32 always.
        accumulate_steps: micro-batches that each process takes its share of a batch in, one after the other, to need
            less memory; "auto": as few as fit into the GPU's memory; null: as many as keep the images that a GPU has
            at once what they are on `n_gpu` GPUs.
        activation_checkpointing: keep each block's input only, and compute the block again for the gradient: less
            memory, a third more time.
        compile: let torch.compile fuse the network's operations.
        channels_last: keep images with their channels innermost in memory, which convolutions on CPUs and on GPUs in
            half precision are faster with; the results are the same but for rounding.
        on_nonfinite: what to do about a loss that is no finite number: end the run, or skip the step.
        max_skipped_steps: with "skip", the run ends all the same after so many skipped steps.
    """

    epochs: PositiveInt
    save_dir: str
    save_period: PositiveInt = 1
    checkpoint_minutes: NonNegativeFloat = 15.0
    keep_last: NonNegativeInt = 0
    verbosity: Literal[0, 1, 2] = 2
    monitor: str = "off"
    early_stop: NonNegativeInt = 0
    validate: bool = False
    wandb: bool = False
    parallel: Literal["ddp", "dp", "none"] = "ddp"
    sync_batchnorm: bool = False
    precision: PrecisionName = "tf32"
    accumulate_steps: PositiveInt | Literal["auto"] | None = None
    activation_checkpointing: bool = False
    compile: bool = False
    channels_last: bool = True
    on_nonfinite: Literal["stop", "skip"] = "stop"
    max_skipped_steps: PositiveInt = 100


@dataclass
class RunState:
    """Where a run stands.

    Args:
        epoch: epochs completed.
        step: steps done of the epoch after that.
        best: the best value of the monitored quantity so far.
        best_epoch: when it was reached; 0: not yet.
        skipped_steps: steps skipped for a loss that was no finite number.
        accumulate_steps: what "auto" has found for `accumulate_steps`; 0: nothing yet.
        history: what each completed epoch logged.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    skipped_steps: int = 0
    accumulate_steps: int = 0
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
        distributed: the processes that train; rank 0 writes.
    """

    def __init__(
        self,
        *,
        options: TrainerOptions,
        monitor: Monitor,
        folder: RunFolder,
        recorder: Recorder,
        parts: Mapping[str, Stateful],
        facts: Mapping[str, Any],
        state: RunState,
        distributed: DistributedContext,
    ) -> None:
        self.options = options
        self.monitor = monitor
        self.folder = folder
        self.recorder = recorder
        self.parts = parts
        self.facts = facts
        self.state = state
        self.distributed = distributed
        self.signals = StopSignals(second_interrupt_kills=distributed.group is None)
        self.logger = logging.getLogger(type(self).__name__)
        self._agree = Agreement(distributed)
        self._last_save = time.monotonic()

    @abstractmethod
    def train_steps(self, epoch: int) -> None:
        """Train the steps of an epoch (counted from 1) that are left, `between_steps` after each."""

    @abstractmethod
    def validate(self, epoch: int) -> dict[str, float]:
        """Evaluate on the validation split; names begin with `val_`."""

    @abstractmethod
    def finish_epoch(self, validation: Mapping[str, float]) -> dict[str, float]:
        """The epoch's training log; its meters start anew and the schedule moves on."""

    @abstractmethod
    def check_losses(self) -> None:
        """See to it that no loss since the last call was other than a finite number; called before each checkpoint."""

    @abstractmethod
    def before_save(self) -> None:
        """Bring what the processes know apart together in rank 0."""

    def train(self) -> None:
        """Run all epochs that are left; a signal ends the run between two steps, with a checkpoint."""
        begin, begin_epoch = time.monotonic(), self.state.epoch
        with self.signals:
            while self.state.epoch < self.options.epochs and not self._exhausted():
                self._run_epoch(self.state.epoch + 1)
                done = self.state.epoch
                left = (time.monotonic() - begin) / (done - begin_epoch) * (self.options.epochs - done)
                self.logger.info("%s, %s left", self._summary(), timedelta(seconds=round(min(left, _LONGEST))))
        if self._exhausted():
            self.logger.info("%s has not improved since epoch %d: stopped.", self.monitor.name, self.state.best_epoch)
        self.recorder.close()

    def between_steps(self) -> None:
        """Obey a signal, or write the checkpoint that is due by the clock; the state is whole at this moment.

        All processes do so after the same step, whichever of them was signalled.
        """
        agreed = self._agree(self._requested_action)
        if agreed > _CHECKPOINT_DUE:
            received = _SIGNALS[agreed - _CHECKPOINT_DUE - 1]
            path = self.save(checkpoint_name(self.state.epoch, self.state.step))
            self.recorder.close()
            self.distributed.from_main(None)  # a launcher that sees one process end gives the others half a minute
            told = f"stopped by {received.name}; continue with: python train.py -r {path}"
            raise RunStopped(received, told if self.distributed.is_main else "")
        if agreed == _CHECKPOINT_DUE:
            self.save(checkpoint_name(self.state.epoch, self.state.step))

    def _requested_action(self) -> int:
        """What this process would do now: nothing (0), write the checkpoint that is due (1), or obey a signal."""
        if self.signals.received is not None:
            return _CHECKPOINT_DUE + 1 + _SIGNALS.index(self.signals.received)
        seconds = 60 * self.options.checkpoint_minutes
        due = self.distributed.is_main and seconds and time.monotonic() - self._last_save >= seconds
        return _CHECKPOINT_DUE if due else 0

    def save(self, name: str) -> Path:
        """Write a checkpoint with everything a continuation needs into the run's folder; all processes must call."""
        self.check_losses()
        self.before_save()
        path = self.folder.path / name
        if self.distributed.is_main:
            content = {name: part.state_dict() for name, part in self.parts.items()}
            progress = {"epoch": self.state.epoch, "monitor_best": self.state.best, "progress": asdict(self.state)}
            self.folder.save(name, {**self.facts, **progress, **content})
            self.logger.debug("saved %s", path)
        self._last_save = time.monotonic()
        return path

    def _run_epoch(self, epoch: int) -> None:
        self.train_steps(epoch)
        self.check_losses()
        validation = self.validate(epoch) if self.options.validate else {}
        log = {**self.finish_epoch(validation), **validation}
        improved = self._note(epoch, log)
        self.recorder.scalars(log, epoch)
        # The best first: were the run to die in between, the epoch would be run again and both be written again.
        if improved:
            self.save(BEST_NAME)
        if epoch % self.options.save_period == 0 or epoch == self.options.epochs or self._exhausted():
            self.save(checkpoint_name(epoch))

    def _note(self, epoch: int, log: dict[str, float]) -> bool:
        """Enter a finished epoch into the state; returns whether it is the best so far."""
        state = self.state
        state.epoch, state.step = epoch, 0
        state.history.append({"epoch": float(epoch), **log})
        value = log.get(self.monitor.name)
        if value is None or not self.monitor.is_better(value, state.best):
            return False
        state.best, state.best_epoch = value, epoch
        return True

    def _exhausted(self) -> bool:
        """Whether the monitored quantity has failed to improve for `early_stop` epochs."""
        patience = self.options.early_stop
        recorded = bool(self.state.history) and self.monitor.name in self.state.history[-1]
        return bool(patience) and recorded and self.state.epoch - self.state.best_epoch >= patience

    def _summary(self) -> str:
        values = "  ".join(f"{name} {value:.4g}" for name, value in self.state.history[-1].items() if name != "epoch")
        return f"epoch {self.state.epoch}/{self.options.epochs}  {values}"

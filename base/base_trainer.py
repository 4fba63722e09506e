"""What every training run does: epochs, the best epoch, early stopping, checkpoints, an orderly end."""

from __future__ import annotations

import logging
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from base.checkpoint_parts import CheckpointParts
from base.monitor import Monitor
from base.run_folder import BEST_NAME, RunFolder
from base.run_state import RunState
from base.trainer_options import TrainerOptions
from utils.distributed.context import Agreement, DistributedContext
from utils.files.checkpoint_names import checkpoint_name
from utils.reporting.tensorboard import Recorder
from utils.signals import EXIT_CODES, RunStopped, SignalReceived, StopSignals, end_workers

_LONGEST = 1e10  # seconds: three centuries, more than which no clock shows
_CHECKPOINT_DUE = 1  # what a process asks the others for, unless it is a signal
_SIGNALS = sorted(EXIT_CODES)

T = TypeVar("T")


class BaseTrainer(ABC):
    """Runs epochs; what an epoch is belongs to the subclass.

    Args:
        options: section `trainer`.
        monitor: the parsed `options.monitor`.
        folder: the run's folder.
        recorder: where curves go.
        parts: name in the checkpoint → part of the run.
        metadata: further plain data that each checkpoint holds (the configuration, class names, …).
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
        parts: CheckpointParts,
        metadata: Mapping[str, Any],
        state: RunState,
        distributed: DistributedContext,
    ) -> None:
        self.options = options
        self.monitor = monitor
        self.folder = folder
        self.recorder = recorder
        self.parts = parts
        self.metadata = metadata
        self.state = state
        self.distributed = distributed
        self.signals = StopSignals(second_interrupt_kills=distributed.group is None)
        self.logger = logging.getLogger(type(self).__name__)
        self._agree = Agreement(distributed)
        self._last_save = time.monotonic()

    @abstractmethod
    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Train what is left of an epoch (counted from 1) and validate; returns what is logged of it.

        `between_steps` is to be called after each step.
        """

    @abstractmethod
    def before_save(self) -> None:
        """See to it that the run's state may be kept, and bring what the processes know apart together in rank 0.

        Raises:
            RunError: losses or weights are no finite numbers.
        """

    def record_epoch(self, epoch: int, log: Mapping[str, float]) -> None:
        """Tell the recorder of a finished epoch, whose checkpoints have been written."""
        self.recorder.scalars(log, epoch)

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
            text = "Early stopping: %s has not improved since epoch %d."
            self.logger.info(text, self.monitor.name, self.state.best_epoch)
        if self.state.history:
            self.recorder.hyperparameters(name for name in self.state.history[-1] if name != "epoch")
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
            told = f"stopped by {received.name}; continue with: python train.py -r {shlex.quote(str(path))}"
            raise RunStopped(received, told if self.distributed.is_main else "")
        if agreed == _CHECKPOINT_DUE:
            self.save(checkpoint_name(self.state.epoch, self.state.step))

    def obeying_signals(self, items: Iterator[T]) -> Iterator[T]:
        """The items, between two steps; a signal that comes while one is waited for is obeyed at once.

        A loader process that hangs would keep it waiting for `worker_timeout`. One of several processes waits all the
        same: they can end after the same step only.
        """
        if self.distributed.group is not None:
            yield from items
            return
        while True:
            try:
                with self.signals.interrupting():
                    item = next(items)
            except StopIteration:
                return
            except SignalReceived:
                end_workers()
                self.between_steps()
                raise AssertionError("a signal ends the run") from None
            yield item

    def _requested_action(self) -> int:
        """What this process would do now: nothing (0), write the checkpoint that is due (1), or obey a signal."""
        if self.signals.received is not None:
            return _CHECKPOINT_DUE + 1 + _SIGNALS.index(self.signals.received)
        seconds = 60 * self.options.checkpoint_minutes
        due = self.distributed.is_main and seconds and time.monotonic() - self._last_save >= seconds
        return _CHECKPOINT_DUE if due else 0

    def save(self, name: str) -> Path:
        """Write a checkpoint with everything a continuation needs into the run's folder; all processes must call."""
        self.before_save()
        path = self.folder.path / name
        if self.distributed.is_main:
            published = {"epoch": self.state.epoch, "monitor_best": self.state.best}
            self.folder.save(name, {**self.metadata, **published, **self.parts.state_dict()})
            self.logger.debug("saved %s", path)
        self._last_save = time.monotonic()
        return path

    def _run_epoch(self, epoch: int) -> None:
        log = self.run_epoch(epoch)
        improved = self._note(epoch, log)
        # The best first: were the run to die in between, the epoch would be run again and both be written again.
        if improved:
            self.save(BEST_NAME)
        if epoch % self.options.save_period == 0 or epoch == self.options.epochs or self._exhausted():
            self.save(checkpoint_name(epoch))
        self.record_epoch(epoch, log)  # last: nothing that draws or tells may cost a checkpoint

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
        return self.state.exhausted(self.monitor.name, self.options.early_stop)

    def _summary(self) -> str:
        values = "  ".join(f"{name} {value:.4g}" for name, value in self.state.history[-1].items() if name != "epoch")
        return f"epoch {self.state.epoch}/{self.options.epochs}  {values}"

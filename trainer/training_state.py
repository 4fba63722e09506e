"""What training changes in a run, and its checkpoints therefore hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch.optim import Optimizer

from base import CheckpointParts, RunState
from trainer.engine.precision import Precision
from trainer.engine.rate_schedule import RateSchedule
from trainer.methods.base import Method
from utils.reporting.meters import RunningMeans


@dataclass(frozen=True, eq=False)
class TrainingState:
    """The parts of a run that a checkpoint is made of.

    Args:
        method: what is trained; it has parts of its own, the network among them.
        optimizer: of the method's trainable parameters.
        schedule: of the learning rate.
        precision: with its loss scale.
        meters: means of the epoch under way.
        progress: epochs, history, the best so far.
    """

    method: Method
    optimizer: Optimizer
    schedule: RateSchedule
    precision: Precision
    meters: RunningMeans
    progress: RunState

    @cached_property
    def parts(self) -> CheckpointParts:
        """All of them by the names that they have in a checkpoint."""
        parts = CheckpointParts()
        for name, part in self.method.checkpoint_parts().items():
            parts.register(name, part)
        parts.register("optimizer", self.optimizer)
        parts.register("lr_scheduler", self.schedule)
        parts.register("meters", self.meters)
        parts.register("precision", self.precision)
        parts.register("progress", self.progress)
        return parts

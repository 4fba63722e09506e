"""Where training stands: a position. (The training step itself is `Trainer.train_step` in trainer/trainer.py.)"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One update of the weights; everything random in it is a function of it and of the run's seed.

    Attributes:
        epoch: counted from 1.
        index: of the step within its epoch, counted from 0.
    """

    epoch: int
    index: int

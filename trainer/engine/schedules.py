"""Learning-rate schedules that a configuration may name beside torch's own, and torch's compounds as nested sections.

What they count, epochs or steps, is `trainer.engine.rate_schedule`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch.optim.lr_scheduler as torchs
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trainer.config.components import SCHEDULE_PART
from utils.config.ranges import NonNegativeInt, PositiveFloat, PositiveInt

__all__ = ["ChainedScheduler", "CustomLR", "SequentialLR"]

SchedulePart = Annotated[LRScheduler, SCHEDULE_PART]

_FACTORS = (
    *(torchs.ConstantLR, torchs.LinearLR, torchs.ExponentialLR, torchs.PolynomialLR),
    *(torchs.StepLR, torchs.MultiStepLR, torchs.CosineAnnealingLR),
)
"""Schedules that multiply the rate as they find it; all others set it, whatever it was."""


class CustomLR(LRScheduler):
    """Linear warm-up, then two decays: the schedule of the CIFAR recipes.

    In epoch e (from 0) the base rate is multiplied by 1, from `step1` on by γ, from `step2` on by γ², and while
    e < `warmup_epoch` also by (e + 1) / `warmup_epoch`.

    Args:
        optimizer: whose rates to set.
        step1: epoch of the first decay.
        step2: epoch of the second decay.
        gamma: γ.
        warmup_epoch: epochs of warm-up; 0: none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        step1: NonNegativeInt,
        step2: NonNegativeInt,
        gamma: PositiveFloat = 0.1,
        warmup_epoch: NonNegativeInt = 5,
    ) -> None:
        self.step1, self.step2, self.gamma, self.warmup_epoch = step1, step2, gamma, warmup_epoch
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        """What the base rate is multiplied by in an epoch (from 0)."""
        decays = (epoch >= self.step1) + (epoch >= self.step2)
        warmup = (epoch + 1) / self.warmup_epoch if epoch < self.warmup_epoch else 1.0
        return self.gamma**decays * warmup

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the current epoch, one a parameter group."""
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]


class SequentialLR(torchs.SequentialLR):
    """One schedule after the other: each begins at its milestone, and counts from there.

    Args:
        optimizer: whose rates to set.
        schedulers: sections `{"type", "args"}`.
        milestones: where the second, third, … begins; ascending.
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[SchedulePart], milestones: list[PositiveInt]) -> None:
        _refuse_compounds(type(self).__name__, schedulers)
        if any(later <= earlier for earlier, later in pairwise(milestones)):
            raise ValueError(f"milestones must ascend; got {milestones}")
        super().__init__(optimizer, schedulers, milestones)


class ChainedScheduler(torchs.ChainedScheduler):
    """Several schedules at once: the base rate times the factors of all of them.

    Args:
        optimizer: whose rates to set.
        schedulers: sections `{"type", "args"}`.

    Attributes:
        last_epoch: how often it was stepped.
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[SchedulePart]) -> None:
        _refuse_compounds(type(self).__name__, schedulers)
        for schedule in schedulers:
            if not isinstance(schedule, _FACTORS):
                kinds = ", ".join(kind.__name__ for kind in _FACTORS)
                told = f"{type(schedule).__name__} sets the rate, so that the others would have no effect"
                raise ValueError(f"{told}; ChainedScheduler takes {kinds}")
        super().__init__(schedulers, optimizer)
        self.last_epoch = 0

    def step(self) -> None:  # type: ignore[override]
        """One unit on, in all of them."""
        super().step()
        self.last_epoch += 1


def _refuse_compounds(name: str, schedulers: Sequence[LRScheduler]) -> None:
    """Refuse parts that torch's compounds would step wrongly.

    Raises:
        ValueError: there is one.
    """
    for schedule in schedulers:
        kind = type(schedule).__name__
        if isinstance(schedule, (torchs.SequentialLR, torchs.ChainedScheduler)):
            raise ValueError(f"{name} can't hold {kind}: schedules can be nested once")
        if isinstance(schedule, (torchs.OneCycleLR, torchs.CyclicLR)):
            raise ValueError(f"{name} can't hold {kind}, which has rates and momenta of its own from the beginning on")
        if isinstance(schedule, torchs.ReduceLROnPlateau):
            raise ValueError(f"{name} can't hold {kind}, which follows the monitor")

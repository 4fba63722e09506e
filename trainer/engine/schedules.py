"""Learning-rate schedules that a configuration may name beside torch's own; stepped once an epoch."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from utils.config.ranges import NonNegativeInt, PositiveFloat

__all__ = ["CustomLR"]


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

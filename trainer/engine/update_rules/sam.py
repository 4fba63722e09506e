"""Sharpness-aware minimisation (Foret et al., *Sharpness-Aware Minimization for Efficiently Improving Generalization*,
ICLR 2021): the gradient is taken where the loss is highest nearby."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.engine.engine import StepMeasures
from trainer.engine.precision import Precision
from trainer.engine.update_rules.base import ComputeGradients, UpdateRule
from utils.config.ranges import PositiveFloat
from utils.device_copies import copies_of, copy_all

__all__ = ["SAM"]


class SAM(UpdateRule):
    """Descent along the gradient at w + ρ·g/‖g‖, g being the gradient at the weights w.

    Both passes see the same images, mixed and dropped out alike. The first leaves BatchNorm's statistics as they are:
    each image counts once. A loss scale cancels out of g/‖g‖. Twice the time of a plain step.

    Args:
        optimizer: of the trained parameters.
        precision: of the run.
        network: the trained one.
        rho: ρ, the radius in which the loss is to be flat; 0.05 in the paper.
        local: each process climbs along the gradient of its own images, so the first pass exchanges nothing; the
            result then depends on the number of processes.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        precision: Precision,
        network: nn.Module,
        rho: PositiveFloat = 0.05,
        local: bool = False,
    ) -> None:
        super().__init__(optimizer, precision, network)
        self.rho = rho
        self.local = local

    def __call__(
        self, compute_gradients: ComputeGradients, is_finite: Callable[[StepMeasures], bool]
    ) -> StepMeasures | None:
        """See `UpdateRule`; what is recorded are the losses at the weights themselves."""
        statistics = copies_of(self.network.buffers())
        measures = compute_gradients(synchronised=not self.local)
        weights, before = self._climb()
        copy_all(self.network.buffers(), statistics)
        climbed = compute_gradients()
        copy_all(weights, before)  # not minus the step: rounding would move the weights
        if not is_finite(climbed):
            return None
        self.precision.update(self.optimizer)
        return measures

    @torch.no_grad()
    def _climb(self) -> tuple[list[Tensor], list[Tensor]]:
        """Move the weights by ρ·g/‖g‖; returns those that have a gradient, and copies of what they were.

        Where the gradient is zero or overflows (under fp16's loss scale) they stay, and the second pass decides.
        """
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        moved = [weight for weight in weights if weight.grad is not None]
        gradients = [weight.grad for weight in moved if weight.grad is not None]
        before = copies_of(moved)
        if not moved:
            return moved, before
        # lists at once: on a GPU, starting an operation for each weight takes longer than the operation
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        factor = torch.where(length.isfinite() & (length > 0), self.rho / length, 0.0)
        steps = torch._foreach_mul(gradients, factor)
        for step in steps:
            step.nan_to_num_(nan=0.0)  # an infinite gradient times a factor of zero: it must not reach the weights
        torch._foreach_add_(moved, steps)
        return moved, before

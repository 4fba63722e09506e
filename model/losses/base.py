"""What the training step knows of a loss; each loss is a file of this package.

Shapes: `B` batch, `E` experts, `C` classes. Losses are computed in float32 at least, whatever the type of the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from model.targets import MixedTargets

LossValue = Tensor | tuple[Tensor, dict[str, Tensor]]
"""A loss, 0-dim; with `return_expert_losses` also each expert's own, for the record: {"loss_e_0": …}, detached."""


class ExpertLoss(nn.Module):
    """A mean over images, and over experts where each has a loss of its own.

    A subclass defines `expert_losses`. Its constructor may ask for what a run knows by the names of its arguments:
    `cls_num_list` or `class_counts` (training images of each class, [C]), `num_classes`, `num_experts`, `taus`,
    `epochs`, `steps_per_epoch`, `seed`.

    Class attributes:
        needs_expert_logits: whether it is computed from each expert's logits, not from their mean.
    """

    needs_expert_logits: ClassVar[bool] = False

    def expert_losses(self, expert_logits: Tensor, targets: MixedTargets) -> Tensor:
        """The loss of each image from each expert's logits.

        Args:
            expert_logits: [E, B, C], float32 at least; E is 1 where the loss does not need each expert's.
            targets: labels of the B images, mixed or not.

        Returns:
            [E, B].
        """
        raise NotImplementedError

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch (counted from 1), for losses that change in the course of training."""

    def home_priors(self, training_prior: np.ndarray) -> np.ndarray | None:
        """The class prior under which each expert's logits are right, [E, C], each with sum 1.

        [1, C] is that of their mean alone, where the experts' own can't be said. None: nothing can be said.

        Args:
            training_prior: class frequencies of the training images as they are drawn, [C], with sum 1.
        """
        return None

    def forward(
        self,
        output: Tensor,
        target: Tensor | MixedTargets,
        extra_info: Mapping[str, Tensor] | None = None,
        return_expert_losses: bool = False,
    ) -> LossValue:
        """The mean loss of a batch.

        Args:
            output: [B, C], the ensemble's logits.
            target: class indices [B], or mixed ones.
            extra_info: {"logits": [E, B, C]}, each expert's logits; [1, B, C] with one expert. Without it a loss that
                needs them is the cross-entropy of `output`.
            return_expert_losses: return (loss, {"loss_e_0": …}); the second is empty without `extra_info`. A loss of
                the ensemble records what it would be for each expert alone.
        """
        targets = target if isinstance(target, MixedTargets) else MixedTargets(target)
        expert_logits = None if extra_info is None else at_least_float32(extra_info["logits"])
        if expert_logits is not None and self.needs_expert_logits:
            losses = self.expert_losses(expert_logits, targets).mean(dim=1)  # [E, B] → [E]
            return (losses.mean(), _by_expert(losses)) if return_expert_losses else losses.mean()
        ensemble = at_least_float32(output).unsqueeze(0)  # [B, C] → [1, B, C]
        loss = (cross_entropies if self.needs_expert_logits else self.expert_losses)(ensemble, targets).mean()
        if not return_expert_losses:
            return loss
        if expert_logits is None:
            return loss, {}
        with torch.no_grad():
            return loss, _by_expert(self.expert_losses(expert_logits, targets).mean(dim=1))


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision raised to float32; float32 and float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def cross_entropies(expert_logits: Tensor, targets: MixedTargets) -> Tensor:
    """Cross-entropy of each image by each expert: logits [E, B, C] → [E, B], by one log-softmax for both labels."""
    return -targets.pick(expert_logits.log_softmax(dim=-1))


def _by_expert(losses: Tensor) -> dict[str, Tensor]:
    """Losses [E] as a record {"loss_e_0": …}, detached and still on their device."""
    return {f"loss_e_{expert}": loss for expert, loss in enumerate(losses.detach().unbind())}

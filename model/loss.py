"""The losses a configuration can name as `loss.type`.

Shapes: `B` batch, `E` experts, `C` classes. All are computed in float32 at least, whatever the type of the logits.
(Annotations stay objects here, for whoever inspects a constructor's signature.)
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.priors import checked_class_counts, log_prior
from utils.config.ranges import PositiveFloat

__all__ = ["BSExpertLoss", "CrossEntropyLoss"]

LossValue = Tensor | tuple[Tensor, dict[str, Tensor]]
"""A loss, 0-dim; with `return_expert_losses` also each expert's own, for the record: {"loss_e_0": …}, detached."""


class ExpertLoss(nn.Module):
    """What the training step knows of a loss.

    Class attributes:
        needs_expert_logits: whether it is computed from each expert's logits, not from their mean.
    """

    needs_expert_logits: ClassVar[bool] = False

    def home_prior(self, training_prior: np.ndarray) -> np.ndarray | None:
        """The class prior [C] under which the mean of the experts' logits is right; None: it can't be said.

        Args:
            training_prior: class frequencies of the training images as they are drawn, [C], with sum 1.
        """
        return None

    def forward(
        self,
        output: Tensor,
        target: Tensor,
        extra_info: Mapping[str, Tensor] | None = None,
        return_expert_losses: bool = False,
    ) -> LossValue:
        """The mean loss of a batch.

        Args:
            output: [B, C], the ensemble's logits.
            target: [B], class indices.
            extra_info: {"logits": [E, B, C]}, each expert's logits; [1, B, C] with one expert.
            return_expert_losses: return (loss, {"loss_e_0": …}); the second is empty without `extra_info`.
        """
        raise NotImplementedError


class CrossEntropyLoss(ExpertLoss):
    """Cross-entropy of the ensemble's logits."""

    def home_prior(self, training_prior: np.ndarray) -> np.ndarray:
        """The training prior itself."""
        return training_prior

    def forward(
        self,
        output: Tensor,
        target: Tensor,
        extra_info: Mapping[str, Tensor] | None = None,
        return_expert_losses: bool = False,
    ) -> LossValue:
        """Cross-entropy of `output`; the experts' own losses are those of their raw logits (see `ExpertLoss`)."""
        loss = F.cross_entropy(at_least_float32(output), target)
        if not return_expert_losses:
            return loss
        with torch.no_grad():
            return loss, {} if extra_info is None else by_expert(expert_cross_entropies(extra_info["logits"], target))


class BSExpertLoss(ExpertLoss):
    """Balanced product of experts: the mean over experts of cross-entropy on logits + τₑ·log(π + eps).

    τ = 0 aims an expert at the training prior π, 1 at the uniform one, 2 at the inverse of π (arXiv 2206.05260).
    Buffers, kept in checkpoints: `bsce_weight` [C], the class counts, and `tau_list` [E].

    Args:
        cls_num_list: training images a class [C], each ≥ 0 with a positive sum.
        tau_list: τ of each expert [E]; text is translated before, by `model.priors.normalise_tau_list`.
        eps: added to π.

    Raises:
        ValueError: text for `tau_list`, no τ at all, or counts that are none.
    """

    needs_expert_logits = True
    bsce_weight: Tensor
    tau_list: Tensor

    def __init__(self, cls_num_list: Sequence[float], tau_list: list[float] | str, eps: PositiveFloat = 1e-9) -> None:
        super().__init__()
        if isinstance(tau_list, str):
            raise ValueError(
                f"tau_list is the text {tau_list!r}: translate it with model.priors.normalise_tau_list first"
            )
        if len(tau_list) == 0:
            raise ValueError("tau_list is empty: give one τ for each expert")
        self.eps = eps
        class_counts = checked_class_counts(cls_num_list)
        self.register_buffer("bsce_weight", torch.tensor(class_counts, dtype=torch.float32))
        self.register_buffer("tau_list", torch.tensor(tau_list, dtype=torch.float32))

    def forward(
        self,
        output: Tensor,
        target: Tensor,
        extra_info: Mapping[str, Tensor] | None = None,
        return_expert_losses: bool = False,
    ) -> LossValue:
        """Mean of the experts' losses; without `extra_info` plain cross-entropy of `output` (see `ExpertLoss`)."""
        if extra_info is None:
            loss = F.cross_entropy(at_least_float32(output), target)
            return (loss, {}) if return_expert_losses else loss
        losses = expert_cross_entropies(self.adjusted(extra_info["logits"]), target)  # [E]
        return (losses.mean(), by_expert(losses)) if return_expert_losses else losses.mean()

    def home_prior(self, training_prior: np.ndarray) -> np.ndarray:
        """∝ training_prior · π^(−τ̄), π being the frequencies that the logits are adjusted by, τ̄ the mean τ.

        With images drawn as they are, that is π^(1−τ̄): uniform where τ̄ is 1. Classes without images have none of it.
        """
        log_adjustment = log_prior(self.bsce_weight.double().numpy(force=True), eps=self.eps)
        weights = training_prior * np.exp(-float(self.tau_list.double().mean()) * log_adjustment)
        return weights / weights.sum()

    def adjusted(self, expert_logits: Tensor) -> Tensor:
        """Each expert's logits [E, B, C] plus its τ·log(π + eps), in float32 at least.

        Raises:
            ValueError: E is not the number of τ, or C not the number of class counts.
        """
        num_experts, _, num_classes = expert_logits.shape
        if num_experts != self.tau_list.numel():
            raise ValueError(f"the logits have {num_experts} experts and tau_list has {self.tau_list.numel()} entries")
        if num_classes != self.bsce_weight.numel():
            raise ValueError(f"the logits have {num_classes} classes and cls_num_list {self.bsce_weight.numel()}")
        logits = at_least_float32(expert_logits)
        log_training_prior = log_prior(self.bsce_weight.to(logits.dtype), eps=self.eps)
        return logits + self.tau_list.to(logits.dtype)[:, None, None] * log_training_prior  # [E, 1, 1] · [C]


def at_least_float32(logits: Tensor) -> Tensor:
    """Half precision raised to float32; float32 and float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def expert_cross_entropies(expert_logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of each expert [E], from logits [E, B, C] and class indices [B]."""
    num_experts, batch_size, _ = expert_logits.shape
    logits = at_least_float32(expert_logits).flatten(0, 1)  # [E, B, C] → [E·B, C]
    losses = F.cross_entropy(logits, target.repeat(num_experts), reduction="none")
    return losses.view(num_experts, batch_size).mean(dim=1)  # [E·B] → [E]


def by_expert(losses: Tensor) -> dict[str, Tensor]:
    """Losses [E] as a record {"loss_e_0": …}, detached and still on their device."""
    return {f"loss_e_{expert}": loss for expert, loss in enumerate(losses.detach().unbind())}

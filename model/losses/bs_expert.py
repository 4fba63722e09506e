"""The loss of the paper: each expert is trained by cross-entropy on logits adjusted by τₑ·log π (arXiv 2206.05260).

Shapes: `B` batch, `E` experts, `C` classes. (Annotations stay objects here, for whoever inspects the signature.)
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.losses.base import ExpertLoss, cross_entropies
from model.priors import checked_class_counts, log_prior
from model.targets import MixedTargets
from utils.config.ranges import PositiveFloat

__all__ = ["BSExpertLoss"]


class BSExpertLoss(ExpertLoss):
    """Balanced product of experts: the mean over experts of cross-entropy on logits + τₑ·log(π + eps).

    τ = 0 aims an expert at the training prior π, 1 at the uniform one, 2 at the inverse of π.
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

    def expert_losses(self, expert_logits: Tensor, targets: MixedTargets) -> Tensor:
        """Cross-entropy of the adjusted logits: [E, B, C] → [E, B]."""
        return cross_entropies(self.adjusted(expert_logits), targets)

    def adjusted(self, expert_logits: Tensor) -> Tensor:
        """Each expert's logits [E, B, C] plus its τ·log(π + eps).

        Raises:
            ValueError: E is not the number of τ, or C not the number of class counts.
        """
        num_experts, _, num_classes = expert_logits.shape
        if num_experts != self.tau_list.numel():
            raise ValueError(f"the logits have {num_experts} experts and tau_list has {self.tau_list.numel()} entries")
        if num_classes != self.bsce_weight.numel():
            raise ValueError(f"the logits have {num_classes} classes and cls_num_list {self.bsce_weight.numel()}")
        log_training_prior = log_prior(self.bsce_weight.to(expert_logits.dtype), eps=self.eps)
        return expert_logits + self.tau_list.to(expert_logits.dtype)[:, None, None] * log_training_prior  # [E, 1, C]

    def home_priors(self, training_prior: np.ndarray) -> np.ndarray:
        """∝ training_prior · π^(−τₑ), [E, C], π being the frequencies that the logits are adjusted by.

        With images drawn as they are, that is π^(1−τₑ): uniform where τₑ is 1. Classes without images have none of it.
        """
        log_adjustment = log_prior(self.bsce_weight.double().numpy(force=True), eps=self.eps)  # [C]
        exponents = -self.tau_list.double().numpy(force=True)[:, None] * log_adjustment  # [E, C]
        weights = training_prior * np.exp(exponents - exponents.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

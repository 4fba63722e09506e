"""Plain cross-entropy."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from model.losses.base import ExpertLoss, cross_entropies
from model.targets import MixedTargets

__all__ = ["CrossEntropyLoss"]


class CrossEntropyLoss(ExpertLoss):
    """Cross-entropy of the ensemble's logits."""

    def expert_losses(self, expert_logits: Tensor, targets: MixedTargets) -> Tensor:
        """−log p(y): [E, B, C] → [E, B]."""
        return cross_entropies(expert_logits, targets)

    def home_priors(self, training_prior: np.ndarray) -> np.ndarray:
        """The training prior itself, [1, C]: the ensemble is trained, not each expert."""
        return training_prior[None]

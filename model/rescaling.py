"""Learnable factors on logits.

Shapes: `B` batch, `E` experts, `C` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PerClassScale(nn.Module):
    """One factor for each expert and class, by which its logit is multiplied; 1 at first.

    (LWS: Kang et al., *Decoupling Representation and Classifier for Long-Tailed Recognition*, ICLR 2020.)

    Args:
        num_experts: E.
        num_classes: C.
    """

    def __init__(self, num_experts: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_experts, num_classes))

    def forward(self, logits: Tensor) -> Tensor:
        """Logits [B, E, C] → [B, E, C], in float32 at least."""
        return logits * self.weight  # [B, E, C] · [E, C]

"""The metrics a configuration can name in `metrics`: fractions of a batch, as tensors on its device.

Shapes: `B` batch, `C` classes. Nothing here waits for the device; the caller decides when to read a value.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["accuracy", "top_k_acc"]


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Fraction (0-dim, in [0, 1]) of logits [B, C] whose largest is at `target` [B]."""
    return (output.argmax(dim=1) == target).float().mean()


def top_k_acc(output: Tensor, target: Tensor, k: int = 5) -> Tensor:
    """Fraction (0-dim, in [0, 1]) of logits [B, C] with `target` [B] among the `k` largest (all, if k > C)."""
    top_classes = output.topk(min(k, output.size(1)), dim=1).indices  # [B, k]
    return (top_classes == target.unsqueeze(1)).any(dim=1).float().mean()

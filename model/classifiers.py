"""Classifiers: the last layer of an expert, from features to logits.

Shapes: `B` batch, `C` classes, `D` features.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def unit_length(vectors: Tensor, dim: int) -> Tensor:
    """`vectors` divided by their Euclidean length along `dim`; a zero vector stays zero, with a finite gradient."""
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    # Dividing a zero vector by 1 and not by a tiny epsilon: its gradient would be 1/epsilon.
    return vectors / length.masked_fill(length == 0, 1.0)


def full_precision(device: torch.device) -> AbstractContextManager:
    """A region in which autocast does not lower the precision of operations on `device`."""
    if device.type == "meta":  # which autocast does not know
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class CosineClassifier(nn.Module):
    """Cosine classifier: logits = s · x/‖x‖ · W/‖W‖, each column of W over D (Gidaris & Komodakis, arXiv 1804.09458).

    Logits lie in [−s, s]; a zero feature gives zero logits. They are computed, and returned, in float32 (float64 for
    float64 weights) even under autocast: at s = 30 half precision would leave steps of 1/64 (fp16) or 1/8 (bf16).

    Args:
        feature_dim: D.
        num_classes: C.
        scale: s > 0, the inverse temperature.
    """

    def __init__(self, feature_dim: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        weight = torch.randn(feature_dim, num_classes)
        # without storage a length is computed by Python code of torch's that takes a second to import
        self.weight = nn.Parameter(weight if weight.is_meta else unit_length(weight, dim=0))

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, D] → logits [B, C]."""
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        with full_precision(features.device):
            directions = unit_length(self.weight.to(dtype), dim=0)
            return self.scale * (unit_length(features.to(dtype), dim=1) @ directions)

    def extra_repr(self) -> str:
        """Sizes for the printed model."""
        feature_dim, num_classes = self.weight.shape
        return f"feature_dim={feature_dim}, num_classes={num_classes}, scale={self.scale:g}"


def make_classifier(feature_dim: int, num_classes: int, *, use_norm: bool, scale: float) -> nn.Module:
    """A cosine classifier with `use_norm`, else a linear one with bias, to which `scale` does not apply."""
    if use_norm:
        return CosineClassifier(feature_dim, num_classes, scale)
    return nn.Linear(feature_dim, num_classes)

"""Colour jitter of whole batches: brightness, contrast and saturation by random factors, in a random order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from utils.streams import Stream, uniforms

_GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it
_IMAGES_AT_ONCE = 1  # on a CPU: what its cache holds; a GPU takes all that there are


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """float32 images [B, 3, H, W] times factors [B, 1, 1, 1]; in place and, like the others, not yet clamped."""
    return images.mul_(factors)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Images moved away from (factor > 1) or towards their mean grey."""
    mean = _weighted(images.mean((2, 3), keepdim=True))  # [B, 1, 1, 1]
    return images.mul_(factors).add_(mean.mul_(1 - factors))


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Images moved away from (factor > 1) or towards their own grey."""
    grey = _weighted(images)  # [B, 1, H, W]
    return images.mul_(factors).add_(grey.mul_(1 - factors))


_ADJUSTMENTS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (adjust_brightness, adjust_contrast, adjust_saturation)
_ORDERS = np.array(list(permutations(range(3))))  # [6, 3]


@dataclass(frozen=True)
class ColourJitter:
    """torchvision's ColorJitter without hue, on uint8 batches; rounded once at the end, not after each step.

    Args:
        seed: the run's seed.
        strength: each of the three factors is uniform in 1 ± this.
    """

    per_image: ClassVar[bool] = False

    seed: int
    strength: float

    def __call__(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """uint8 images [B, 3, H, W] → the same shape and type."""
        factors, orders = self.draws(keys)
        by_order = np.argsort(orders, kind="stable")  # images that share an order go through the steps together
        factors, orders = factors[by_order], orders[by_order]
        device, largest = images.device, len(images) if images.is_cuda else _IMAGES_AT_ONCE
        images = images.index_select(0, torch.as_tensor(by_order, device=device))
        all_factors = torch.as_tensor(factors.astype(np.float32), device=device)
        for order, part in _parts(orders, largest):
            pixels = images[part].float()
            for step in _ORDERS[order]:
                pixels = _ADJUSTMENTS[step](pixels, all_factors[part, step].view(-1, 1, 1, 1))
                if factors[part, step].max() > 1:  # smaller ones stay within the range
                    pixels.clamp_(0, 255)
            images[part] = pixels.add_(0.5).to(torch.int16)  # rounds; by way of int16 is twice as fast on a CPU
        return images.index_select(0, torch.as_tensor(np.argsort(by_order), device=device))

    def draws(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Factors of brightness, contrast, saturation [B, 3], and which of the six orders they come in [B]."""
        numbers = uniforms(self.seed, Stream.COLOUR, keys, 4)
        return 1 + self.strength * (2 * numbers[:, :3] - 1), (numbers[:, 3] * len(_ORDERS)).astype(np.int64)


def _parts(orders: np.ndarray, largest: int) -> Iterator[tuple[int, slice]]:
    """Sorted orders [B] → each order with the slices of at most `largest` images that have it."""
    values, starts = np.unique(orders, return_index=True)
    for order, start, end in zip(values, starts, [*starts[1:], len(orders)], strict=True):
        for begin in range(start, end, largest):
            yield int(order), slice(begin, min(begin + largest, end))


def _weighted(channels: Tensor) -> Tensor:
    """[B, 3, …] → its grey value [B, 1, …]."""
    red, green, blue = channels[:, :1], channels[:, 1:2], channels[:, 2:]
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])

"""Colour jitter of whole batches: brightness, contrast and saturation by random factors, in a random order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from data_loader.batch_transforms import BatchTransform
from utils.streams import Stream, uniforms

_GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it
_BRIGHTNESS, _CONTRAST, _SATURATION = range(3)
_ORDERS = np.array(list(permutations((_BRIGHTNESS, _CONTRAST, _SATURATION))))  # [6, 3]


@dataclass(frozen=True)
class ColourJitter(BatchTransform):
    """torchvision's ColorJitter without hue, on batches; in floating point, not rounded after each step.

    Every step blends an image with something grey: x·f + g·(1 − f), where g is black for brightness, the image's mean
    grey for contrast, its own grey for saturation.

    Args:
        seed: the run's seed.
        strength: each of the three factors is uniform in 1 ± this.
    """

    seed: int
    strength: float

    def draws(self, keys: np.ndarray) -> np.ndarray:
        """The three steps of each image: float32, shape [B, 3, 3].

        A step (f, c, s) takes x to x·f + c·(mean grey) + s·(own grey): brightness has c = s = 0, contrast c = 1 − f,
        saturation s = 1 − f.
        """
        numbers = uniforms(self.seed, Stream.COLOUR, keys, 4)
        factors = 1 + self.strength * (2 * numbers[:, :3] - 1)
        kinds = _ORDERS[(numbers[:, 3] * len(_ORDERS)).astype(np.int64)]  # [B, 3]
        factors = np.take_along_axis(factors, kinds, axis=1)
        rest = 1 - factors
        return np.stack([factors, rest * (kinds == _CONTRAST), rest * (kinds == _SATURATION)], 2).astype(np.float32)

    def apply(self, images: Tensor, draws: np.ndarray) -> Tensor:
        """uint8 images [B, 3, H, W] → float32 in 0 … 255, of the same shape."""
        pixels = images.float()
        steps = torch.as_tensor(draws, device=images.device)[..., None, None, None]  # [B, 3, 3, 1, 1, 1]
        for number in range(draws.shape[1]):
            largest, *greys = np.abs(draws[:, number]).max(axis=0)  # a grey is computed where some image needs it
            factor, *weights = steps[:, number].unbind(1)  # each [B, 1, 1, 1]
            mean_grey = _grey(pixels.mean((2, 3), keepdim=True)) if greys[0] else None  # [B, 1, 1, 1]
            own_grey = _grey(pixels) if greys[1] else None  # [B, 1, H, W]
            pixels.mul_(factor)
            for grey, weight in zip((mean_grey, own_grey), weights, strict=True):
                if grey is not None:
                    pixels.add_(grey.mul_(weight))
            if largest > 1:  # smaller factors keep the pixels within the range
                pixels.clamp_(0, 255)
        return pixels


def _grey(channels: Tensor) -> Tensor:
    """[B, 3, …] → its grey value [B, 1, …]."""
    red, green, blue = channels[:, :1], channels[:, 1:2], channels[:, 2:]
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])

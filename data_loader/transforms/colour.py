"""Colour jitter of whole batches: brightness, contrast and saturation by random factors, in a random order.

On a CPU with a C compiler by functions in C (`colour.c`), which pass over an image twice instead of a dozen times.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_loader.transforms.batch_transforms import ValueTransform
from utils.device_copies import to_device
from utils.native_code import call, load_c, tried
from utils.random_streams import Stream, uniforms

_GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it
_BRIGHTNESS, _CONTRAST, _SATURATION = range(3)
_ORDERS = np.array(list(permutations((_BRIGHTNESS, _CONTRAST, _SATURATION))))  # [6, 3]


@dataclass(frozen=True)
class ColourJitter(ValueTransform):
    """torchvision's ColorJitter without hue, on batches; in floating point, not rounded after each step.

    Every step blends an image with something grey: x·f + g·(1 − f), where g is black for brightness, the image's mean
    grey for contrast, its own grey for saturation.

    Args:
        seed: the run's seed.
        strength: each of the three factors is uniform in 1 ± this.
    """

    seed: int
    strength: float

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        """The three steps of each image: float32, shape [B, 3, 3].

        A step (f, c, s) takes x to x·f + c·(mean grey) + s·(own grey): brightness has c = s = 0, contrast c = 1 − f,
        saturation s = 1 − f.
        """
        numbers = uniforms(self.seed, Stream.COLOUR, sample_ids, 4)
        factors = 1 + self.strength * (2 * numbers[:, :3] - 1)
        kinds = _ORDERS[(numbers[:, 3] * len(_ORDERS)).astype(np.int64)]  # [B, 3]
        factors = np.take_along_axis(factors, kinds, axis=1)
        rest = 1 - factors
        return np.stack([factors, rest * (kinds == _CONTRAST), rest * (kinds == _SATURATION)], 2).astype(np.float32)

    def transform_(self, pixels: Tensor, params: np.ndarray) -> None:
        """Pixels [B, 3, H, W] in 0 … 255, which they stay in."""
        functions = _functions() if pixels.device.type == "cpu" and pixels.is_contiguous() else None
        if functions is not None:
            _jitter(functions, pixels, params)
        else:
            _jitter_by_tensors(pixels, params)


def _are_right(functions: ctypes.CDLL) -> bool:
    """Whether they compute what PyTorch does: a compiler may be wrong, too."""
    pixels = torch.arange(2 * 3 * 5 * 7, dtype=torch.float32).view(2, 3, 5, 7).sin().mul(127).add(128)
    ours, plain = pixels.clone(), pixels.clone()
    params = ColourJitter(seed=0, strength=0.9).make_params(np.arange(6).reshape(2, 3))
    _jitter(functions, ours, params)
    _jitter_by_tensors(plain, params)
    return torch.allclose(ours, plain, rtol=0, atol=1e-2)


@tried(_are_right)
def _functions() -> ctypes.CDLL | None:
    """Those in C, tried on a small image; None where they can't be had."""
    return load_c(Path(__file__).with_suffix(".c"))


def _jitter(functions: ctypes.CDLL, pixels: Tensor, params: np.ndarray) -> None:
    steps = torch.from_numpy(np.ascontiguousarray(params))
    call(functions, "jitter", pixels, steps, len(pixels), pixels[0, 0].numel())


def _jitter_by_tensors(pixels: Tensor, params: np.ndarray) -> None:
    terms = to_device(params, pixels.device).flatten(1)[..., None, None, None].unbind(1)
    largest = np.abs(params).max(axis=0)  # [3 steps, 3 terms]: what no image of the batch needs is left out
    for step, (largest_factor, needs_mean_grey, needs_own_grey) in enumerate(largest.tolist()):
        factor, mean_weight, own_weight = terms[3 * step : 3 * step + 3]  # each [B, 1, 1, 1]
        greys = []
        if needs_mean_grey:
            greys.append(_grey(pixels.mean((2, 3), keepdim=True)).mul_(mean_weight))  # [B, 1, 1, 1]
        if needs_own_grey:
            greys.append(_grey(pixels).mul_(own_weight))  # [B, 1, H, W]
        pixels.mul_(factor)
        for grey in greys:
            pixels.add_(grey)
        if largest_factor > 1:  # smaller factors keep the pixels within the range
            pixels.clamp_(0, 255)


def _grey(channels: Tensor) -> Tensor:
    """[B, 3, …] → its grey value [B, 1, …]."""
    red, green, blue = channels.chunk(3, dim=1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])

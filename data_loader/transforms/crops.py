"""How an image of any size becomes one of the network's size: a random crop in training, the middle otherwise.

Pixels are cut out first and resized afterwards, as uint8 and with antialiasing, in the worker that has decoded them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from utils.random_streams import Stream, uniforms

_TRIES = 10


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


class Crop(Protocol):
    """Images of any size → images of one size."""

    @property
    def size(self) -> int:
        """The side S of the result, in pixels."""
        ...

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        """The random numbers of a batch with sample_ids [B, 3]: shape [B, n]."""
        ...

    def __call__(self, image: Tensor, params: np.ndarray) -> Tensor:
        """A uint8 image [3, h, w] and its params [n] → uint8 [3, S, S]."""
        ...


@dataclass(frozen=True)
class RandomResizedCrop:
    """A crop of random area and aspect ratio, resized (Szegedy et al., 2015); torchvision's distribution.

    Area is uniform in `scale` of the image's, the ratio's logarithm uniform in `ratio`'s; after ten crops that don't
    fit, the largest central one of an admitted ratio.

    Args:
        seed: the run's seed.
        size: side S of the result, in pixels.
        scale: smallest and largest part of the area.
        ratio: smallest and largest width / height.
    """

    seed: int
    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        """Area and ratio of each try, then the place: shape [B, 22]."""
        return uniforms(self.seed, Stream.CROP, sample_ids, 2 * _TRIES + 2)

    def box(self, height: int, width: int, params: np.ndarray) -> Box:
        """The crop out of an image of `height` × `width`, for params [22]."""
        numbers = params.tolist()
        (low, high), (thin, wide) = self.scale, self.ratio
        for try_ in range(_TRIES):
            area = height * width * (low + (high - low) * numbers[2 * try_])
            aspect = thin * (wide / thin) ** numbers[2 * try_ + 1]
            crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                top, left = numbers[-2] * (height - crop_height + 1), numbers[-1] * (width - crop_width + 1)
                return Box(int(top), int(left), crop_height, crop_width)
        crop_width = min(width, round(height * wide))
        crop_height = min(height, round(width / thin))
        return Box((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)

    def shrinkage(self, height: int, width: int, *, params: np.ndarray) -> float:
        """How many times smaller, each way, the crop out of an image of `height` × `width` is made, at least."""
        box = self.box(height, width, params)
        return min(box.height, box.width) / self.size

    def __call__(self, image: Tensor, params: np.ndarray) -> Tensor:
        """A uint8 image [3, h, w] → its random crop, uint8 [3, S, S]."""
        box = self.box(image.shape[1], image.shape[2], params)
        cut = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
        return resize(cut, self.size, self.size)


@dataclass(frozen=True)
class CentreCrop:
    """The shorter side resized to `resized`, then the middle S × S pixels.

    Args:
        size: side S of the result, in pixels.
        resized: length of the shorter side before the crop, at least S.
    """

    size: int
    resized: int

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        """Nothing here is random: shape [B, 0]."""
        return np.empty((len(sample_ids), 0))

    def __call__(self, image: Tensor, params: np.ndarray) -> Tensor:
        """A uint8 image [3, h, w] → its middle, uint8 [3, S, S]."""
        height, width = image.shape[1:]
        height, width = size_of_shorter(height, width, self.resized)
        top, left = (round((side - self.size) / 2) for side in (height, width))
        return resize(image, height, width)[:, top : top + self.size, left : left + self.size]


def size_of_shorter(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Height and width of an image whose shorter side is brought to this many pixels; rounded as torchvision does."""
    return int(shorter * height / min(height, width)), int(shorter * width / min(height, width))


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """A uint8 image [3, h, w] resized bilinearly with antialiasing, as Pillow does it (within 1 of 255)."""
    if image.shape[1:] == (height, width):
        return image
    pixels = image[None].contiguous(memory_format=torch.channels_last)  # as decoders leave them, and fastest
    return interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)[0]

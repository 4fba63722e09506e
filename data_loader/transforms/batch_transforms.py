"""Transforms of whole batches, on whatever device the batch lies; random ones are functions of the sample ids.

What chance decides about each sample (`make_params`) is apart from what is then done (`transform`), so that a chain
can be applied in blocks that a processor's cache holds. What a sample becomes depends on the seed and its own id only,
never on its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from utils.device_copies import to_device
from utils.random_streams import Stream, uniforms


class BatchTransform(ABC):
    """Images [B, 3, H, W] and sample ids [B, 3] → images of this shape; slow `per_image` ones run in workers."""

    per_image: ClassVar[bool] = False

    def make_params(self, sample_ids: np.ndarray) -> Sequence[Any] | np.ndarray:
        """What chance decides about each sample of sample ids [B, 3]: B rows; empty ones where nothing is random."""
        return np.empty((len(sample_ids), 0))

    @abstractmethod
    def transform(self, images: Tensor, params: Any) -> Tensor:
        """Transform images [B, 3, H, W] as their B params say; the images given are left as they are."""

    def __call__(self, images: Tensor, sample_ids: np.ndarray) -> Tensor:
        """Transform the images [B, 3, H, W] of sample ids [B, 3]."""
        return self.transform(images, self.make_params(sample_ids))


class ValueTransform(BatchTransform):
    """Changes pixels' values, not their places, and does so in place: float32 images in, float32 images out.

    A run of them at a chain's end works in the memory of the result itself: see `apply_all`.
    """

    @abstractmethod
    def transform_(self, pixels: Tensor, params: Any) -> None:
        """Transform float32 pixels [B, 3, H, W] in place as their B params say."""

    def transform(self, images: Tensor, params: Any) -> Tensor:
        """Images [B, 3, H, W] of any type → float32 of the same shape; the images given are left as they are."""
        pixels = images.to(torch.float32, copy=True)
        self.transform_(pixels, params)
        return pixels


@dataclass(frozen=True)
class CropFlipRotate(BatchTransform):
    """Crop after zero padding, horizontal flip, rotation about the centre; nearest pixel, zeros outside.

    The three are composed into one table of source pixels and the images are read once through it.

    Args:
        seed: the run's seed.
        padding: zeros on each side before the crop back to the image's own size.
        flip: mirror half of the images.
        degrees: the angle is uniform within ± this.
    """

    seed: int
    padding: int
    flip: bool
    degrees: float

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        """Place of the crop, mirrored or not, angle: uniform in [0, 1), shape [B, 4]."""
        return uniforms(self.seed, Stream.GEOMETRY, sample_ids, 4)

    def transform(self, images: Tensor, params: np.ndarray) -> Tensor:
        """Images [B, 3, H, W], moved."""
        batch, channels, height, width = images.shape
        top, left = np.floor(params[:, :2].T * (2 * self.padding + 1)) - self.padding
        mirrored = (params[:, 2] < 0.5) & self.flip
        angle = np.deg2rad((2 * params[:, 3] - 1) * self.degrees)
        numbers = np.stack((np.cos(angle), np.sin(angle), mirrored, top, left)).astype(np.float32)  # one copy for all
        cos, sin, mirror, down, right = to_device(numbers, images.device)[..., None, None].unbind()  # each [B, 1, 1]

        y = torch.arange(height, dtype=torch.float32, device=images.device)[:, None] - (height - 1) / 2
        x = torch.arange(width, dtype=torch.float32, device=images.device) - (width - 1) / 2
        # where each output pixel comes from, step by step backwards: rotation, flip, crop; all [B, H, W]
        source_y = torch.floor(cos * y + sin * x + height / 2)
        source_x = torch.floor(cos * x - sin * y + width / 2)
        inside = _within(source_y, height) & _within(source_x, width)
        source_x = mirror * (width - 1) + (1 - 2 * mirror) * source_x
        source_y, source_x = source_y + down, source_x + right
        inside &= _within(source_y, height) & _within(source_x, width)
        pixel = (source_y * width + source_x).long().masked_fill_(~inside, 0).view(batch, 1, -1)
        moved = images.flatten(2).gather(2, pixel.expand(-1, channels, -1)).view_as(images)
        return moved.mul_(inside[:, None])


@dataclass(frozen=True)
class HorizontalFlip(BatchTransform):
    """Half of the images, mirrored.

    Args:
        seed: the run's seed.
    """

    seed: int

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        """Whether each is mirrored: bool, shape [B]."""
        return uniforms(self.seed, Stream.GEOMETRY, sample_ids, 1)[:, 0] < 0.5

    def transform(self, images: Tensor, params: np.ndarray) -> Tensor:
        """Images [B, 3, H, W], some of them mirrored."""
        if params.all():
            return images.flip(-1)
        mirrored = np.flatnonzero(params)
        if not len(mirrored):
            return images
        source = np.arange(len(images))
        source[mirrored] = len(images) + np.arange(len(mirrored))
        rows, source_rows = (to_device(indices, images.device) for indices in (mirrored, source))
        flipped = images.index_select(0, rows).flip(-1)
        return torch.cat((images, flipped)).index_select(0, source_rows)


@dataclass(frozen=True)
class Cutout(BatchTransform):
    """One square hole of zeros; its centre is uniform over the pixels, what reaches over the edge is cut off.

    (DeVries & Taylor, *Improved regularization of CNNs with Cutout*, 2017.)

    Args:
        seed: the run's seed.
        size: side of the hole in pixels.
    """

    seed: int
    size: int

    def make_params(self, sample_ids: np.ndarray) -> np.ndarray:
        """The hole's centre: uniform in [0, 1), shape [B, 2]."""
        return uniforms(self.seed, Stream.CUTOUT, sample_ids, 2)

    def transform(self, images: Tensor, params: np.ndarray) -> Tensor:
        """Images [B, 3, H, W] with a hole each."""
        sides = np.array(images.shape[-2:])
        first = np.floor(params * sides).astype(np.int64) - self.size // 2  # [B, 2]
        hole = None
        for axis, start in enumerate(to_device(first, images.device).split(1, dim=1)):  # [B, 1] each
            side = images.shape[2 + axis]
            position = torch.arange(side, device=images.device)
            covered = (position >= start) & (position < start + self.size)  # [B, side]
            hole = covered[:, :, None] if hole is None else hole & covered[:, None, :]
        assert hole is not None
        return images.masked_fill(hole[:, None], 0)


@dataclass(frozen=True)
class Normalise(ValueTransform):
    """Images in 0 … 255 → (x / 255 − mean) / std by channel.

    Args:
        mean: of each channel, on the scale 0 … 1.
        std: likewise.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def transform_(self, pixels: Tensor, params: object) -> None:
        """As x · 1 / (255 std) − mean / std: two passes over the pixels and no division."""
        scale, offset = _scale_and_offset(tuple(self.mean), tuple(self.std), pixels.device)
        pixels.mul_(scale).sub_(offset)


@cache
def _scale_and_offset(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """What `Normalise` multiplies by and then takes away, one value a channel: each of shape [3, 1, 1]."""
    means, stds = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
    return to_device((1 / (255 * stds)).float(), device), to_device((means / stds).float(), device)


def _within(position: Tensor, side: int) -> Tensor:
    return (position >= 0) & (position < side)

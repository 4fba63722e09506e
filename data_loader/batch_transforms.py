"""Transforms of whole batches, on whatever device the batch lies; random ones are functions of the samples' keys.

Each is called with uint8 images [B, 3, H, W] and keys [B, 3] and returns images of the same shape. What a sample
becomes depends on the seed and its own key only, never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from utils.streams import Stream, uniforms


class BatchTransform(Protocol):
    """Images [B, 3, H, W] and keys [B, 3] → images; `per_image` ones are slow and run in the workers."""

    per_image: ClassVar[bool]

    def __call__(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """Transform one batch."""
        ...


@dataclass(frozen=True)
class CropFlipRotate:
    """Crop after zero padding, horizontal flip, rotation about the centre; nearest pixel, zeros outside.

    The three are composed into one table of source pixels and the images are read once through it.

    Args:
        seed: the run's seed.
        padding: zeros on each side before the crop back to the image's own size.
        flip: mirror half of the images.
        degrees: the angle is uniform within ± this.
    """

    per_image: ClassVar[bool] = False

    seed: int
    padding: int
    flip: bool
    degrees: float

    def __call__(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """Images [B, 3, H, W], moved."""
        batch, channels, height, width = images.shape
        draws = uniforms(self.seed, Stream.GEOMETRY, keys, 4)
        top, left = np.floor(draws[:, :2].T * (2 * self.padding + 1)) - self.padding
        mirrored = (draws[:, 2] < 0.5) & self.flip
        angle = np.deg2rad((2 * draws[:, 3] - 1) * self.degrees)

        def column(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values.astype(np.float32), device=images.device)[:, None, None]

        y = torch.arange(height, dtype=torch.float32, device=images.device)[:, None] - (height - 1) / 2
        x = torch.arange(width, dtype=torch.float32, device=images.device) - (width - 1) / 2
        cos, sin = column(np.cos(angle)), column(np.sin(angle))
        # where each output pixel comes from, step by step backwards: rotation, flip, crop; all [B, H, W]
        source_y = torch.floor(cos * y + sin * x + height / 2)
        source_x = torch.floor(cos * x - sin * y + width / 2)
        inside = _within(source_y, height) & _within(source_x, width)
        mirror = column(mirrored)
        source_x = mirror * (width - 1) + (1 - 2 * mirror) * source_x
        source_y, source_x = source_y + column(top), source_x + column(left)
        inside &= _within(source_y, height) & _within(source_x, width)
        pixel = (source_y * width + source_x).long().masked_fill_(~inside, 0).view(batch, 1, -1)
        moved = images.flatten(2).gather(2, pixel.expand(-1, channels, -1)).view_as(images)
        return moved.mul_(inside[:, None])


@dataclass(frozen=True)
class HorizontalFlip:
    """Half of the images, mirrored.

    Args:
        seed: the run's seed.
    """

    per_image: ClassVar[bool] = False

    seed: int

    def __call__(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """Images [B, 3, H, W], some of them mirrored."""
        mirrored = np.flatnonzero(uniforms(self.seed, Stream.GEOMETRY, keys, 1)[:, 0] < 0.5)
        source = np.arange(len(images))
        source[mirrored] = len(images) + np.arange(len(mirrored))
        rows, source_rows = (torch.as_tensor(indices, device=images.device) for indices in (mirrored, source))
        flipped = images.index_select(0, rows).flip(-1)
        return torch.cat((images, flipped)).index_select(0, source_rows)


@dataclass(frozen=True)
class Cutout:
    """One square hole of zeros; its centre is uniform over the pixels, what reaches over the edge is cut off.

    (DeVries & Taylor, *Improved regularization of CNNs with Cutout*, 2017.)

    Args:
        seed: the run's seed.
        size: side of the hole in pixels.
    """

    per_image: ClassVar[bool] = False

    seed: int
    size: int

    def __call__(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """Images [B, 3, H, W] with a hole each."""
        height, width = images.shape[-2:]
        draws = uniforms(self.seed, Stream.CUTOUT, keys, 2)
        hole = None
        for axis, side in enumerate((height, width)):
            first = np.floor(draws[:, axis] * side).astype(np.int64) - self.size // 2
            start = torch.as_tensor(first, device=images.device)[:, None]
            position = torch.arange(side, device=images.device)
            covered = (position >= start) & (position < start + self.size)  # [B, side]
            hole = covered[:, :, None] if hole is None else hole & covered[:, None, :]
        assert hole is not None
        return images.masked_fill(hole[:, None], 0)


@dataclass(frozen=True)
class Normalise:
    """uint8 images → float32, (x / 255 − mean) / std by channel.

    Args:
        mean: of each channel, on the scale 0 … 1.
        std: likewise.
    """

    per_image: ClassVar[bool] = False

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, images: Tensor, keys: np.ndarray) -> Tensor:
        """float32 [B, 3, H, W]; `keys` are not looked at."""
        mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
        return images.float().div_(255).sub_(mean).div_(std)


def _within(position: Tensor, side: int) -> Tensor:
    return (position >= 0) & (position < side)

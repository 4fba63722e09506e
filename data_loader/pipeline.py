"""A chain of transforms, cut in two: what must run image by image in the workers, and what runs on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_loader.batch_transforms import BatchTransform

_BLOCK_VALUES = 2**18  # a megabyte of floats


@dataclass(frozen=True)
class Pipeline:
    """The transforms of a split, in order.

    The order is never changed: everything up to the last per-image transform runs in the workers, the rest, whole
    batches at a time, on the device.
    """

    in_worker: tuple[BatchTransform, ...]
    on_device: tuple[BatchTransform, ...]

    @classmethod
    def of(cls, transforms: Iterable[BatchTransform]) -> Pipeline:
        """Cut a chain behind its last per-image transform."""
        chain = tuple(transforms)
        cut = max((i + 1 for i, transform in enumerate(chain) if transform.per_image), default=0)
        return cls(chain[:cut], chain[cut:])


def apply_all(transforms: Sequence[BatchTransform], images: Tensor, keys: np.ndarray) -> Tensor:
    """Images [B, 3, H, W] through a chain of transforms.

    On a CPU a block of images goes through the whole chain before the next does, so that it stays in the cache.
    """
    draws = [transform.draws(keys) for transform in transforms]
    images_at_once = max(_BLOCK_VALUES // images[0].numel(), 1) if images.device.type == "cpu" else len(images)
    if images_at_once >= len(images):
        return _chain(transforms, images, draws)
    blocks = (slice(begin, begin + images_at_once) for begin in range(0, len(images), images_at_once))
    result: Tensor | None = None
    for block in blocks:
        part = _chain(transforms, images[block], [rows[block] for rows in draws])
        if result is None:
            result = torch.empty((len(images), *part.shape[1:]), dtype=part.dtype)
        result[block] = part
    assert result is not None
    return result


def _chain(transforms: Sequence[BatchTransform], images: Tensor, draws: Sequence[Any]) -> Tensor:
    for transform, rows in zip(transforms, draws, strict=True):
        images = transform.apply(images, rows)
    return images

"""A chain of transforms, cut in two: what must run image by image in the workers, and what runs on the device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from data_loader.batch_transforms import BatchTransform


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


def apply_all(transforms: Iterable[BatchTransform], images: Tensor, keys: np.ndarray) -> Tensor:
    """Images [B, 3, H, W] through a chain of transforms."""
    for transform in transforms:
        images = transform(images, keys)
    return images

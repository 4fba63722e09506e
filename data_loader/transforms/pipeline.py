"""The chain of transforms of a view, cut in two: what must run image by image in the workers, and the device's part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from base import View
from data_loader.transforms.batch_transforms import BatchTransform, ValueTransform
from data_loader.transforms.planes import copy_images

_BLOCK_VALUES = 2**18  # a megabyte of floats
_VIEW_NUMBERS: dict[View, int] = {"train": 0, "weak": 1, "strong": 2, "test": 0}  # "test" draws no random numbers
_VIEW_SHIFT = 30  # above every repeat, see `data_loader.sampling`


@dataclass(frozen=True)
class Pipeline:
    """The transforms of a view, in order.

    The order is never changed: everything up to the last per-image transform runs in the workers, the rest, whole
    batches at a time, on the device.
    """

    view: View
    in_worker: tuple[BatchTransform, ...]
    on_device: tuple[BatchTransform, ...]

    @classmethod
    def of(cls, view: View, transforms: Iterable[BatchTransform]) -> Pipeline:
        """Cut a chain behind its last per-image transform."""
        chain = tuple(transforms)
        cut = max((i + 1 for i, transform in enumerate(chain) if transform.per_image), default=0)
        return cls(view, chain[:cut], chain[cut:])

    def begin(self, images: Tensor, sample_ids: np.ndarray) -> Tensor:
        """Raw images [B, 3, H, W] through the workers' part of the chain, on the CPU wherever they lie."""
        if not self.in_worker:
            return images
        return apply_all(self.in_worker, images.cpu(), _ids_of_view(sample_ids, self.view)).to(images.device)

    def finish(self, images: Tensor, sample_ids: np.ndarray) -> Tensor:
        """What `begin` returns, through the rest of the chain: [B, 3, H, W]."""
        return apply_all(self.on_device, images, _ids_of_view(sample_ids, self.view))


def _ids_of_view(sample_ids: np.ndarray, view: View) -> np.ndarray:
    """Sample ids [B, 3] with the view's number above the repeat, so that each view has random numbers of its own."""
    return sample_ids + np.array([0, 0, _VIEW_NUMBERS[view] << _VIEW_SHIFT])


def apply_all(transforms: Sequence[BatchTransform], images: Tensor, sample_ids: np.ndarray) -> Tensor:
    """Images [B, 3, H, W] through a chain of transforms, then contiguous; without any, as they are.

    On a CPU a block of images goes through the whole chain before the next does, so that it stays in the cache. For
    the same reason the chain's last transforms, as far as they only change values, do so in the result's own memory.
    """
    if not transforms:
        return images
    params = [transform.make_params(sample_ids) for transform in transforms]
    first, last = _split_in_place(transforms)
    images_at_once = max(_BLOCK_VALUES // images[0].numel(), 1) if images.device.type == "cpu" else len(images)
    result: Tensor | None = None
    for begin in range(0, len(images), images_at_once):
        block = slice(begin, begin + images_at_once)
        rows = [of_all[block] for of_all in params]
        part = images[block]
        for transform, its_rows in zip(first, rows, strict=False):
            part = transform.transform(part, its_rows)
        if result is None:
            dtype = torch.float32 if last else part.dtype
            result = torch.empty_like(images, dtype=dtype, memory_format=torch.contiguous_format)
        pixels = copy_images(part, result[block])
        for change, its_rows in zip(last, rows[len(first) :], strict=True):
            change.transform_(pixels, its_rows)
    assert result is not None
    return result


def _split_in_place(transforms: Sequence[BatchTransform]) -> tuple[list[BatchTransform], list[ValueTransform]]:
    """A chain as two: what makes new images, and the run of transforms at its end that work in place."""
    last: list[ValueTransform] = []
    for transform in reversed(transforms):
        if not isinstance(transform, ValueTransform):
            break
        last.insert(0, transform)
    return list(transforms[: len(transforms) - len(last)]), last

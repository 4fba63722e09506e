"""Bytes side by side to planes of floats: the same as PyTorch's copy to the bit."""

from __future__ import annotations

import pytest
import torch

from data_loader.transforms.planes import copy_images


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 7, 9), (3, 3, 64, 33), (2, 1, 8, 8)], ids=str)
def test_it_is_pytorchs_copy_to_the_bit(
    shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    images = images.contiguous(memory_format=layout)
    for target in (torch.float32, torch.uint8):
        into = torch.full(shape, 7).to(target)
        assert copy_images(images, into) is into
        assert torch.equal(into, images.to(target))


def test_a_part_of_a_batch_is_copied_to_its_place_alone() -> None:
    images = torch.full((1, 3, 4, 5), 9, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    result = torch.zeros(3, 3, 4, 5)
    copy_images(images, result[1:2])
    assert result.sum(dim=(1, 2, 3)).tolist() == [0, 9 * 60, 0]

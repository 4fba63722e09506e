"""The weight gradient of 3×3 convolutions by our kernels: against float64, and by hand."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.kernels import weight_gradient as module
from model.kernels.convolution import aten_gradients
from model.kernels.kernels import kernels
from model.kernels.weight_gradient import weight_gradient, weight_kernel
from tests.model.kernels.cases import mistaken, randn

DTYPES = (torch.float32, torch.bfloat16)

SHAPES = [
    *[(torch.float32, 1, shape) for shape in [(3, 24, 48, 17, 31), (2, 8, 40, 40, 13)]],
    *product([torch.float32], [1], [(8, 16, 16, 32, 32), (5, 32, 64, 16, 16), (1, 64, 16, 1, 600)]),
    *product(
        [torch.bfloat16],
        [1, 2],
        [
            *[(8, 16, 16, 32, 32), (5, 32, 64, 16, 16), (1, 64, 16, 1, 600), (3, 48, 80, 17, 31), (2, 16, 48, 40, 13)],
            *[(1, 16, 32, 3, 5), (1, 16, 16, 1, 1), (7, 32, 32, 9, 1), (1, 16, 16, 40, 40), (1, 16, 16, 5, 1500)],
        ],
    ),
]
"""Each dtype, stride and B, I, O, H, W: odd sizes, a single row or column, one image for several threads, channels that
are no multiple of 16 or 32, fewer pixels than a tile has and more than a thread takes at once."""


def _dtype_with_kernel(dtype: torch.dtype, stride: int = 1) -> torch.dtype:
    if weight_kernel(dtype, stride) is None:
        units = {torch.float32: "AVX2 and without AVX-512", torch.bfloat16: "bfloat16 units"}[dtype]
        wanted = units if stride == 1 else f"{units} and without AMX"
        pytest.skip(f"no kernel here: it takes a processor with {wanted}, and a C compiler")
    return dtype


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Of images that there is a kernel for."""
    return _dtype_with_kernel(request.param)


@pytest.fixture
def bfloat16() -> torch.dtype:
    """There is a kernel for it."""
    return _dtype_with_kernel(torch.bfloat16)


def _weight(images: Tensor, grad: Tensor) -> Tensor:
    """One of the right shape."""
    return torch.zeros(grad.size(1), images.size(1), 3, 3, dtype=images.dtype)


def _errors(images: Tensor, grad: Tensor, stride: int) -> tuple[float, float]:
    """Relative distances of the kernel's and PyTorch's float32 weight gradient of the same numbers from float64's."""
    weight = torch.zeros(grad.size(1), images.size(1), 3, 3)
    wanted = (False, True, False)
    truth = aten_gradients(images.double(), weight.double(), grad.double(), wanted, stride)[1]
    plain = aten_gradients(images.float(), weight, grad.float(), wanted, stride)[1]
    found = weight_gradient(images, weight.to(images.dtype), grad, stride)
    assert found.dtype == torch.float32
    own, plain_error = (float((values.double() - truth).norm() / truth.norm()) for values in (found, plain))
    return own, plain_error


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("kind", "stride", "shape"), SHAPES, ids=str)
def test_the_weight_gradient_is_as_near_to_float64_as_pytorchs_in_float32(
    kind: torch.dtype, stride: int, shape: tuple[int, ...]
) -> None:
    batch, in_channels, out_channels, height, width = shape
    dtype = _dtype_with_kernel(kind, stride)
    images = randn(batch, in_channels, height, width, dtype=dtype)
    grad = randn(batch, out_channels, math.ceil(height / stride), math.ceil(width / stride), seed=1, dtype=dtype)
    error, plain_error = _errors(images, grad, stride)
    # tiles add up all pixels of a thread, one after the other
    assert error < max(1.2 * plain_error, 3e-6 if dtype == torch.bfloat16 else 1e-6)


def test_a_single_weight_of_a_gradient_by_hand(dtype: torch.dtype) -> None:
    """A 1 in the image and a 2 in the output's gradient meet in one weight: that of their distance."""
    images, grad = torch.zeros(2, 16, 16, 17), torch.zeros(2, 32, 16, 17)
    images[1, 3, 0, 5] = 1.0
    grad[1, 25, 1, 4] = 2.0
    images, grad = (values.to(dtype, memory_format=torch.channels_last) for values in (images, grad))
    found = weight_gradient(images, _weight(images, grad), grad)
    expected = torch.zeros(32, 16, 3, 3)
    expected[25, 3, 0, 2] = 2.0  # one row above, one column to the right of the output's pixel
    assert torch.equal(found, expected.to(dtype))


def test_pixels_at_the_border_meet_none_of_the_other_side_and_none_of_the_next_image(dtype: torch.dtype) -> None:
    """Ones everywhere: a weight counts the pixels whose neighbour lies in the image, the same for all images."""
    images, grad = (torch.ones(3, 16, 5, 7).to(dtype, memory_format=torch.channels_last) for _ in range(2))
    counts = 3 * torch.outer(torch.tensor([4, 5, 4]), torch.tensor([6, 7, 6]))  # kh, kw
    assert torch.equal(
        weight_gradient(images, _weight(images, grad), grad).float(), counts.expand(16, 16, 3, 3).to(dtype).float()
    )


def test_the_same_gradient_twice_is_the_same_to_the_bit_whatever_was_computed_between(dtype: torch.dtype) -> None:
    """What is no number in one batch gets into its own gradient, and not into the next."""
    images, grad = randn(8, 32, 16, 16, dtype=dtype), randn(8, 32, 16, 16, seed=1, dtype=dtype)
    first = weight_gradient(images, _weight(images, grad), grad)
    assert weight_gradient(torch.full_like(images, float("nan")), _weight(images, grad), grad).isnan().all()
    assert torch.equal(weight_gradient(images, _weight(images, grad), grad), first)


@pytest.mark.usefixtures("threads")
def test_pytorchs_own_use_of_tiles_is_not_disturbed(bfloat16: torch.dtype) -> None:
    """Both set them up, on the same threads."""
    images, grad = randn(8, 32, 16, 16, dtype=bfloat16), randn(8, 64, 16, 16, seed=1, dtype=bfloat16)
    matrix, weight = randn(1, 1, 300, 200, dtype=bfloat16)[0, 0], randn(64, 32, 3, 3, seed=2, dtype=bfloat16)

    def pytorchs() -> list[Tensor]:
        return [matrix @ matrix.T, torch.conv2d(images, weight, padding=1)]

    expected = pytorchs()
    for _ in range(3):
        weight_gradient(images, _weight(images, grad), grad)
        assert all(map(torch.equal, pytorchs(), expected))


@pytest.mark.parametrize("kind", DTYPES, ids=str)
def test_without_a_compiler_it_is_pytorchs(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    images, grad = randn(4, 16, 16, 16, dtype=kind), randn(4, 16, 16, 16, seed=1, dtype=kind)
    weight = _weight(images, grad)
    monkeypatch.setenv("CC", "none")
    weight_kernel.cache_clear()
    try:
        found = weight_gradient(images, weight, grad)
    finally:
        weight_kernel.cache_clear()
    assert found.dtype == torch.float32
    assert torch.equal(found, aten_gradients(images, weight, grad, (False, True, False), 1)[1].float())


@pytest.mark.parametrize(
    ("kind", "stride", "name", "right", "wrong"),
    [
        (torch.float32, 1, "weight_gradient", "sums[i][kw][v] +=", "sums[i][kw][v] -="),
        (torch.bfloat16, 1, "weight_gradient_bf16_tiles", "_tile_dpbf16ps(4, 6, 7)", "_tile_dpbf16ps(3, 6, 7)"),
        (torch.bfloat16, 1, "weight_gradient_bf16_tiles", "XCOMP_PERM = 0x1023", "XCOMP_PERM = 0x7777"),
        (torch.bfloat16, 1, "weight_gradient_bf16_pairs", "factors[kw], both", "factors[0], both"),
        (torch.bfloat16, 2, "weight_gradient_bf16_pairs", "of->stride * y + kh) * (row", "y + kh) * (row"),
    ],
    ids=["float32", "tiles", "tiles are refused", "pairs", "pairs, stride 2"],
)
def test_a_kernel_that_is_wrong_is_not_used(
    kind: torch.dtype, stride: int, name: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _dtype_with_kernel(kind, stride)
    asked: list[str] = []
    monkeypatch.setattr(module, "kernels", lambda file: asked.append(file) or kernels(file))
    with mistaken(name, right, wrong, weight_kernel, tmp_path, monkeypatch):
        found = weight_kernel(kind, stride)
        if asked != [name]:
            pytest.skip(f"{asked[0]}.c is this processor's")
        assert found is None

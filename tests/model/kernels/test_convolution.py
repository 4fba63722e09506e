"""3×3 convolutions and gradients of their images by our kernel: against float64, exactly where numbers are whole."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.kernels import convolution
from model.kernels.convolution import aten_gradients, convolve, image_gradient, is_written
from tests.model.kernels.cases import mistaken, randn

BOTH, OUTPUT, GRADIENT = ["convolve", "image_gradient"], ["convolve"], ["image_gradient"]
CASES = [
    *[((*shape, stride), BOTH) for shape in [(3, 16, 16, 32, 32), (2, 32, 64, 16, 16)] for stride in (1, 2)],
    *[((*shape, stride), BOTH) for shape in [(2, 48, 16, 5, 48), (2, 16, 32, 14, 14)] for stride in (1, 2)],
    *[((*shape, stride), BOTH) for shape in [(2, 32, 16, 9, 28), (1, 64, 48, 3, 56)] for stride in (1, 2)],
    *[((*shape, stride), BOTH) for shape in [(2, 16, 16, 7, 112), (1, 16, 16, 1, 16)] for stride in (1, 2)],
    *[((*shape, 1), BOTH) for shape in [(5, 64, 64, 8, 8), (7, 16, 32, 2, 40), (1, 32, 16, 23, 8)]],
    *[((*shape, 1), BOTH) for shape in [(2, 16, 32, 7, 7), (2, 32, 16, 6, 21)]],
    *[((*shape, 2), OUTPUT) for shape in [(3, 16, 16, 5, 13), (1, 32, 32, 13, 15)]],
    *[((*shape, 2), GRADIENT) for shape in [(2, 64, 64, 8, 8), (1, 16, 32, 5, 40)]],
]
"""B, I, O, H, W, stride, and what the kernel is for: tiles of 16, 14, 8 and 7 pixels, one and several in a row; odd
sizes, a single row, fewer rows than threads, and more than a block of the weight is used for at a time."""
NEITHER = [(2, 16, 16, 12, 12, 1), (2, 16, 16, 20, 20, 2), (2, 16, 80, 16, 16, 1), (2, 80, 16, 16, 16, 1)]
"""Rows that no tile is for; more channels than the kernel is faster with."""


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the functions of the kernel that have been called."""
    names: list[str] = []
    call = convolution.call

    def recorded(kernel: ctypes.CDLL, name: str, *given: Tensor | int) -> int:
        names.append(name)
        return call(kernel, name, *given)

    monkeypatch.setattr(convolution, "call", recorded)
    return names


@pytest.fixture
def kernel() -> None:
    """There is one."""
    if convolution._kernel(torch.bfloat16) is None:
        pytest.skip("no kernel here: it takes a processor with AVX-512's bfloat16 and without AMX, and a C compiler")


def _signs(*shape: int, seed: int = 0) -> Tensor:
    """-1, 0 and 1."""
    values = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed)).float()
    return values.contiguous(memory_format=torch.channels_last)


def _inputs(shape: tuple[int, ...], draw: Callable[..., Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Images, weight, and a gradient of the output."""
    batch, in_channels, out_channels, height, width, stride = shape
    return (
        draw(batch, in_channels, height, width),
        draw(out_channels, in_channels, 3, 3, seed=1),
        draw(batch, out_channels, math.ceil(height / stride), math.ceil(width / stride), seed=2),
    )


def _by_float64(images: Tensor, weight: Tensor, grad: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The output and the images' gradient."""
    images, weight, grad = images.double(), weight.double(), grad.double()
    output = torch.conv2d(images, weight, stride=stride, padding=1)
    return output, aten_gradients(images, weight, grad, (True, False, False), stride)[0]


def _found(images: Tensor, weight: Tensor, grad: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """In bfloat16, by what is tested."""
    images, weight, grad = images.bfloat16(), weight.bfloat16(), grad.bfloat16()
    return convolve(images, weight, stride), image_gradient(images, weight, grad, stride)


@pytest.mark.usefixtures("threads", "kernel")
@pytest.mark.parametrize(("shape", "of_kernel"), CASES, ids=str)
def test_sums_of_whole_numbers_are_exact(shape: tuple[int, ...], of_kernel: list[str], called: list[str]) -> None:
    """As long as they have no more than the eight binary digits that a result is kept in."""
    inputs = _inputs(shape, _signs)
    expected = _by_float64(*inputs, shape[-1])
    assert max(float(values.abs().max()) for values in expected) <= 256
    found = _found(*inputs, shape[-1])
    assert called == of_kernel
    for ours, truth in zip(found, expected, strict=True):
        assert torch.equal(ours.double(), truth)
        assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("threads", "kernel")
@pytest.mark.parametrize("shape", [shape for shape, _ in CASES], ids=str)
def test_the_only_error_is_that_of_rounding_to_bfloat16(shape: tuple[int, ...]) -> None:
    images, weight, grad = _inputs(shape, randn)
    inputs = images.bfloat16().float(), weight.bfloat16().float(), grad.bfloat16().float()
    for ours, truth in zip(_found(*inputs, shape[-1]), _by_float64(*inputs, shape[-1]), strict=True):
        rounding = (truth.bfloat16().double() - truth).norm()
        assert (ours.double() - truth).norm() <= 1.02 * rounding


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("shape", [shape for shape, _ in CASES[:6]], ids=str)
def test_the_weight_may_lie_in_memory_as_it_likes(shape: tuple[int, ...]) -> None:
    images, weight, grad = _inputs(shape, randn)
    found, expected = (_found(images, values, grad, shape[-1]) for values in (weight.contiguous(), weight))
    assert all(map(torch.equal, found, expected))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_no_number_reaches_its_neighbours_alone(stride: int) -> None:
    inputs = _inputs((2, 16, 16, 16, 32, stride), randn)
    inputs[0][1, 5, 6, 16] = inputs[2][1, 5, 6, 8] = float("nan")
    for ours, truth in zip(_found(*inputs, stride), _by_float64(*inputs, stride), strict=True):
        assert torch.equal(ours.isnan(), truth.isnan())


@pytest.mark.parametrize("shape", NEITHER, ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_what_the_kernel_is_not_for_is_pytorchs_to_the_bit(
    shape: tuple[int, ...], kind: torch.dtype, called: list[str]
) -> None:
    images, weight, grad = (values.to(kind) for values in _inputs(shape, randn))
    stride = shape[-1]
    assert not is_written(images, weight.size(0), stride)
    assert torch.equal(convolve(images, weight, stride), torch.conv2d(images, weight, stride=stride, padding=1))
    plain = aten_gradients(images, weight, grad, (True, False, False), stride)[0]
    assert torch.equal(image_gradient(images, weight, grad, stride), plain)
    assert called == []


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("8 - (kh * 3 + kw)", "kh * 3 + kw"),
        ("stride * column + kw - 1", "stride * column + kw"),
        ("column == first && !has_first", "column == first"),
        ("stride * y + kh - 1", "stride * y + kh"),
    ],
    ids=["not turned", "to the pixel beside it", "without the first column", "from the row below"],
)
def test_a_kernel_that_is_wrong_is_not_used(
    right: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with mistaken("convolution_bf16_pairs", right, wrong, convolution._kernel, tmp_path, monkeypatch):
        assert convolution._kernel(torch.bfloat16) is None
        assert not is_written(randn(2, 16, 16, 16, dtype=torch.bfloat16), 16, 1)

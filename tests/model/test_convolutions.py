"""3×3 convolutions with a weight gradient of our own: against float64, and against PyTorch's where it isn't used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model import convolutions
from model.convolutions import Conv2d, weight_gradient
from model.kernels import kernels
from model.model import ResNet32Model

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


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """So many of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def _dtype_with_kernel(dtype: torch.dtype, stride: int = 1) -> torch.dtype:
    if convolutions._kernel(dtype, stride) is None:
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


def _randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.contiguous(memory_format=torch.channels_last)


def _gradients(layer: nn.Conv2d, images: Tensor, grad: Tensor) -> dict[str, Tensor]:
    images = images.clone().requires_grad_()
    half = images.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        output = layer(images)
    output.backward(grad.to(output.dtype))
    assert images.grad is not None
    assert layer.weight.grad is not None
    return {"output": output.detach(), "images": images.grad, "weight": layer.weight.grad}


def _pair(in_channels: int, out_channels: int, **options: bool | int) -> tuple[Conv2d, nn.Conv2d]:
    """Ours and PyTorch's with the same weights."""
    arguments = {"padding": 1, "bias": False, **options}
    pair = Conv2d(in_channels, out_channels, 3, **arguments), nn.Conv2d(in_channels, out_channels, 3, **arguments)
    pair[1].load_state_dict(pair[0].state_dict())
    return tuple(layer.to(memory_format=torch.channels_last) for layer in pair)  # type: ignore[return-value]


def _errors(images: Tensor, grad: Tensor, stride: int) -> tuple[float, float]:
    """Relative distances of the kernel's and PyTorch's float32 weight gradient of the same numbers from float64's."""
    weight = torch.zeros(grad.size(1), images.size(1), 3, 3)
    wanted = (False, True, False)
    truth = convolutions._aten_backward(images.double(), weight.double(), grad.double(), wanted, stride)[1]
    plain = convolutions._aten_backward(images.float(), weight, grad.float(), wanted, stride)[1]
    found = weight_gradient(images, grad, stride)
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
    images = _randn(batch, in_channels, height, width, dtype=dtype)
    grad = _randn(batch, out_channels, math.ceil(height / stride), math.ceil(width / stride), seed=1, dtype=dtype)
    error, plain_error = _errors(images, grad, stride)
    # tiles add up all pixels of a thread, one after the other
    assert error < max(1.2 * plain_error, 3e-6 if dtype == torch.bfloat16 else 1e-6)


def test_a_single_weight_of_a_gradient_by_hand(dtype: torch.dtype) -> None:
    """A 1 in the image and a 2 in the output's gradient meet in one weight: that of their distance."""
    images, grad = torch.zeros(2, 16, 16, 17), torch.zeros(2, 32, 16, 17)
    images[1, 3, 0, 5] = 1.0
    grad[1, 25, 1, 4] = 2.0
    found = weight_gradient(*(values.to(dtype, memory_format=torch.channels_last) for values in (images, grad)))
    expected = torch.zeros(32, 16, 3, 3)
    expected[25, 3, 0, 2] = 2.0  # one row above, one column to the right of the output's pixel
    assert torch.equal(found, expected.to(dtype))


def test_pixels_at_the_border_meet_none_of_the_other_side_and_none_of_the_next_image(dtype: torch.dtype) -> None:
    """Ones everywhere: a weight counts the pixels whose neighbour lies in the image, the same for all images."""
    images, grad = (torch.ones(3, 16, 5, 7).to(dtype, memory_format=torch.channels_last) for _ in range(2))
    counts = 3 * torch.outer(torch.tensor([4, 5, 4]), torch.tensor([6, 7, 6]))  # kh, kw
    assert torch.equal(weight_gradient(images, grad).float(), counts.expand(16, 16, 3, 3).to(dtype).float())


def test_output_and_gradient_of_the_images_are_pytorchs_to_the_bit(dtype: torch.dtype) -> None:
    images, grad = _randn(4, 16, 16, 16, dtype=dtype), _randn(4, 32, 16, 16, seed=1)
    ours, plain = (_gradients(layer, images, grad) for layer in _pair(16, 32))
    assert ours["output"].dtype == dtype
    assert torch.equal(ours["output"], plain["output"])
    assert torch.equal(ours["images"], plain["images"])
    assert ours["weight"].dtype == plain["weight"].dtype == torch.float32
    tolerance = 1e-4 if dtype == torch.float32 else 2**-7
    assert torch.allclose(ours["weight"], plain["weight"], rtol=tolerance, atol=1e-3)
    assert ours["weight"].stride() == plain["weight"].stride()


def test_the_same_gradient_twice_is_the_same_to_the_bit_whatever_was_computed_between(dtype: torch.dtype) -> None:
    """What is no number in one batch gets into its own gradient, and not into the next."""
    images, grad = _randn(8, 32, 16, 16, dtype=dtype), _randn(8, 32, 16, 16, seed=1, dtype=dtype)
    first = weight_gradient(images, grad)
    assert weight_gradient(torch.full_like(images, float("nan")), grad).isnan().all()
    assert torch.equal(weight_gradient(images, grad), first)


@pytest.mark.usefixtures("threads")
def test_pytorchs_own_use_of_tiles_is_not_disturbed(bfloat16: torch.dtype) -> None:
    """Both set them up, on the same threads."""
    images, grad = _randn(8, 32, 16, 16, dtype=bfloat16), _randn(8, 64, 16, 16, seed=1, dtype=bfloat16)
    matrix, weight = _randn(1, 1, 300, 200, dtype=bfloat16)[0, 0], _randn(64, 32, 3, 3, seed=2, dtype=bfloat16)

    def pytorchs() -> list[Tensor]:
        return [matrix @ matrix.T, torch.conv2d(images, weight, padding=1)]

    expected = pytorchs()
    for _ in range(3):
        weight_gradient(images, grad)
        assert all(map(torch.equal, pytorchs(), expected))


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({"stride": 2}, _randn(4, 16, 16, 16)),
        ({"bias": True}, _randn(4, 16, 16, 16)),
        ({"groups": 2}, _randn(4, 16, 16, 16)),
        ({}, _randn(4, 16, 16, 16).contiguous()),
        ({}, _randn(1, 16, 16, 16)),
        ({}, _randn(4, 16, 16, 16).double()),
        ({}, _randn(4, 16, 16, 16, dtype=torch.bfloat16)),
    ],
    ids=["stride", "bias", "groups", "contiguous", "few pixels", "float64", "bfloat16 weights"],
)
def test_what_the_kernel_is_not_for_is_pytorchs_to_the_bit(options: dict[str, int], images: Tensor) -> None:
    ours, plain = (layer.to(images.dtype) for layer in _pair(16, 16, **options))
    grad = torch.ones_like(plain(images))
    found, expected = _gradients(ours, images, grad), _gradients(plain, images, grad)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_of_images_in_float32_autocast_makes_a_convolution_in_half_precision() -> None:
    ours, plain = _pair(16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = (
            _gradients(layer, _randn(4, 16, 16, 16), torch.ones(4, 16, 16, 16)) for layer in (ours, plain)
        )
    assert found["output"].dtype == torch.bfloat16
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", DTYPES, ids=str)
def test_without_a_compiler_everything_is_pytorchs_to_the_bit(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "none")
    convolutions._kernel.cache_clear()
    try:
        ours, plain = (
            _gradients(layer, _randn(4, 16, 16, 16, dtype=kind), _randn(4, 16, 16, 16, seed=1, dtype=kind))
            for layer in _pair(16, 16)
        )
        assert all(torch.equal(ours[name], plain[name]) for name in plain)
        with pytest.raises(RuntimeError, match="no kernel"):
            weight_gradient(_randn(4, 16, 16, 16, dtype=kind), _randn(4, 16, 16, 16, dtype=kind))
    finally:
        convolutions._kernel.cache_clear()


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
    monkeypatch.setattr(convolutions, "kernels", lambda file: asked.append(file) or kernels.kernels(file))
    source = (kernels._FOLDER / f"{name}.c").read_text()
    assert right in source
    (tmp_path / f"{name}.c").write_text(source.replace(right, wrong))
    for header in kernels._FOLDER.glob("*.h"):
        (tmp_path / header.name).write_text(header.read_text())
    monkeypatch.setattr(kernels, "_FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    convolutions._kernel.cache_clear()
    try:
        found = convolutions._kernel(kind, stride)
        if asked != [name]:
            pytest.skip(f"{asked[0]}.c is this processor's")
        assert found is None
        assert list(tmp_path.glob("balpoe/*.so")), "it has been compiled"
    finally:
        convolutions._kernel.cache_clear()


def test_the_gradient_of_a_whole_network_is_as_near_to_float64_as_without(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of a ResNet-32 with two experts: 25 blocks of two 3×3 convolutions each, four of them strided."""
    torch.manual_seed(0)
    network = ResNet32Model(num_classes=10, num_experts=2, use_norm=True)
    images, targets = torch.randn(32, 3, 32, 32), torch.arange(32) % 10
    has_kernel = Conv2d._has_kernel
    calls = []

    def gradient(*, used: bool, stored: torch.dtype = torch.float32) -> Tensor:
        monkeypatch.setattr(Conv2d, "_has_kernel", has_kernel if used else lambda *_: False)
        network.to(dtype=stored, memory_format=torch.channels_last).zero_grad()
        given = images.to(dtype=stored, memory_format=torch.channels_last)
        half = dtype == torch.bfloat16 and stored == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits = network(given)
        nn.functional.cross_entropy(logits.to(stored), targets).backward()
        return torch.cat([weight.grad.double().flatten() for weight in network.parameters() if weight.grad is not None])

    monkeypatch.setattr(convolutions, "weight_gradient", lambda *given: calls.append(1) or weight_gradient(*given))
    used, unused, truth = gradient(used=True), gradient(used=False), gradient(used=False, stored=torch.float64)
    strided = 2 * 2
    assert len(calls) == 2 * (5 + 2 * 10) - (strided if convolutions._kernel(dtype, 2) is None else 0)
    assert (used - truth).norm() < max(1.1 * (unused - truth).norm(), 1e-3 * truth.norm())

"""3×3 convolutions with a weight gradient of our own: against float64, and against PyTorch's where it isn't used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model import convolutions
from model.convolutions import Conv2d, weight_gradient
from model.kernels import kernels
from model.model import ResNet32Model

SHAPES = [(8, 16, 16, 32, 32), (5, 32, 64, 16, 16), (3, 24, 48, 17, 31), (2, 8, 40, 40, 13), (1, 64, 16, 1, 600)]
"""B, I, O, H, W: odd sizes, a single row, one image for several threads, channels that are no multiple of 16."""


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """So many of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kernel() -> None:
    """There is one."""
    if convolutions._kernel() is None:
        pytest.skip("no kernel here: a processor with AVX-512 or without AVX2, or no C compiler")


def _randn(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.contiguous(memory_format=torch.channels_last)


def _gradients(layer: nn.Conv2d, images: Tensor, grad: Tensor) -> dict[str, Tensor]:
    images = images.clone().requires_grad_()
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


@pytest.mark.usefixtures("kernel", "threads")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_weight_gradient_is_as_near_to_float64_as_pytorchs(shape: tuple[int, ...]) -> None:
    batch, in_channels, out_channels, height, width = shape
    images, grad = _randn(batch, in_channels, height, width), _randn(batch, out_channels, height, width, seed=1)
    weight = torch.zeros(out_channels, in_channels, 3, 3)
    unused = (False, True, False)
    truth = convolutions._aten_backward(images.double(), weight.double(), grad.double(), unused)[1]
    plain = convolutions._aten_backward(images, weight, grad, unused)[1]
    error, plain_error = (
        float((found - truth).norm() / truth.norm()) for found in (weight_gradient(images, grad), plain)
    )
    assert error < max(1.2 * plain_error, 1e-6)


@pytest.mark.usefixtures("kernel")
def test_a_single_weight_of_a_gradient_by_hand() -> None:
    """A 1 in the image and a 1 in the output's gradient meet in one weight: that of their distance."""
    images, grad = torch.zeros(2, 8, 16, 17), torch.zeros(2, 16, 16, 17)
    images[1, 3, 0, 5] = 1.0
    grad[1, 9, 1, 4] = 2.0
    found = weight_gradient(*(values.contiguous(memory_format=torch.channels_last) for values in (images, grad)))
    expected = torch.zeros(16, 8, 3, 3)
    expected[9, 3, 0, 2] = 2.0  # one row above, one column to the right of the output's pixel
    assert torch.equal(found, expected)


@pytest.mark.usefixtures("kernel")
def test_output_and_gradient_of_the_images_are_pytorchs_to_the_bit() -> None:
    ours, plain = (_gradients(layer, _randn(4, 16, 16, 16), _randn(4, 32, 16, 16, seed=1)) for layer in _pair(16, 32))
    assert torch.equal(ours["output"], plain["output"])
    assert torch.equal(ours["images"], plain["images"])
    assert torch.allclose(ours["weight"], plain["weight"], rtol=1e-4, atol=1e-3)
    assert ours["weight"].stride() == plain["weight"].stride()


@pytest.mark.usefixtures("kernel")
def test_the_same_gradient_twice_is_the_same_to_the_bit() -> None:
    images, grad = _randn(8, 32, 16, 16), _randn(8, 32, 16, 16, seed=1)
    assert torch.equal(weight_gradient(images, grad), weight_gradient(images, grad))


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({"stride": 2}, _randn(4, 16, 16, 16)),
        ({"bias": True}, _randn(4, 16, 16, 16)),
        ({"groups": 2}, _randn(4, 16, 16, 16)),
        ({}, _randn(4, 16, 16, 16).contiguous()),
        ({}, _randn(1, 16, 16, 16)),
        ({}, _randn(4, 16, 16, 16).double()),
    ],
    ids=["stride", "bias", "groups", "contiguous", "few pixels", "float64"],
)
def test_what_the_kernel_is_not_for_is_pytorchs_to_the_bit(options: dict[str, int], images: Tensor) -> None:
    ours, plain = (layer.to(images.dtype) for layer in _pair(16, 16, **options))
    grad = torch.ones_like(plain(images))
    found, expected = _gradients(ours, images, grad), _gradients(plain, images, grad)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_under_autocast_the_convolution_is_in_half_precision() -> None:
    ours, plain = _pair(16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = (
            _gradients(layer, _randn(4, 16, 16, 16), torch.ones(4, 16, 16, 16)) for layer in (ours, plain)
        )
    assert found["output"].dtype == torch.bfloat16
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_without_a_compiler_everything_is_pytorchs_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "none")
    convolutions._kernel.cache_clear()
    try:
        ours, plain = (
            _gradients(layer, _randn(4, 16, 16, 16), _randn(4, 16, 16, 16, seed=1)) for layer in _pair(16, 16)
        )
        assert all(torch.equal(ours[name], plain[name]) for name in plain)
        with pytest.raises(RuntimeError, match="no kernel"):
            weight_gradient(_randn(4, 16, 16, 16), _randn(4, 16, 16, 16))
    finally:
        convolutions._kernel.cache_clear()


@pytest.mark.usefixtures("kernel")
def test_a_kernel_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = tmp_path / "weight_gradient.c"
    wrong.write_text((kernels._FOLDER / wrong.name).read_text().replace("sums[i][kw][v] +=", "sums[i][kw][v] -="))
    monkeypatch.setattr(kernels, "_FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    convolutions._kernel.cache_clear()
    try:
        assert convolutions._kernel() is None
    finally:
        convolutions._kernel.cache_clear()


@pytest.mark.usefixtures("kernel")
def test_the_gradient_of_a_whole_network_is_as_near_to_float64_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of a ResNet-32 with two experts: 25 blocks of two 3×3 convolutions each, four of them strided."""
    torch.manual_seed(0)
    network = ResNet32Model(num_classes=10, num_experts=2, use_norm=True)
    images, targets = torch.randn(32, 3, 32, 32), torch.arange(32) % 10
    has_kernel = Conv2d._has_kernel
    calls = []

    def gradient(*, used: bool, dtype: torch.dtype = torch.float32) -> Tensor:
        monkeypatch.setattr(Conv2d, "_has_kernel", has_kernel if used else lambda *_: False)
        network.to(dtype=dtype, memory_format=torch.channels_last).zero_grad()
        given = images.to(dtype=dtype, memory_format=torch.channels_last)
        nn.functional.cross_entropy(network(given), targets).backward()
        return torch.cat([weight.grad.double().flatten() for weight in network.parameters() if weight.grad is not None])

    monkeypatch.setattr(convolutions, "weight_gradient", lambda *given: calls.append(1) or weight_gradient(*given))
    used, unused, truth = gradient(used=True), gradient(used=False), gradient(used=False, dtype=torch.float64)
    assert len(calls) == 2 * (5 + 2 * 10) - 2 * 2
    assert (used - truth).norm() < max(1.1 * (unused - truth).norm(), 1e-3 * truth.norm())

"""3×3 convolutions by kernels of our own: against PyTorch's, and a whole network's gradient against float64."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

from model import convolutions
from model.convolutions import Conv2d
from model.kernels import convolution
from model.kernels import weight_gradient as weight_gradients
from model.kernels.weight_gradient import weight_gradient, weight_kernel
from model.model import ResNet32Model
from tests.model.kernels.cases import randn

DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Of images that there is a kernel for."""
    if weight_kernel(request.param, 1) is None:
        pytest.skip("no kernel here: it takes a C compiler, and AVX2 without AVX-512 or bfloat16 units")
    return request.param


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


def test_a_layer_computes_what_pytorchs_does(dtype: torch.dtype) -> None:
    """To the bit, but for rounding where a kernel of ours computes it."""
    images, grad = randn(4, 16, 16, 16, dtype=dtype), randn(4, 32, 16, 16, seed=1)
    ours, plain = (_gradients(layer, images, grad) for layer in _pair(16, 32))
    written = convolution.is_written(images, 32, 1)
    for name in ("output", "images"):
        assert ours[name].dtype == plain[name].dtype == dtype
        assert torch.allclose(ours[name], plain[name], rtol=2**-7 if written else 0, atol=1e-3 if written else 0)
    assert ours["weight"].dtype == plain["weight"].dtype == torch.float32
    tolerance = 1e-4 if dtype == torch.float32 else 2**-7
    assert torch.allclose(ours["weight"], plain["weight"], rtol=tolerance, atol=1e-3)
    assert ours["weight"].stride() == plain["weight"].stride()


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_output_is_the_same_to_the_bit(
    without: type[torch.no_grad | torch.inference_mode], dtype: torch.dtype
) -> None:
    layer, images = _pair(16, 32)[0], randn(4, 16, 16, 16, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        learning = layer(images)
        with without():
            assert torch.equal(layer(images), learning)


@pytest.mark.parametrize("frozen", ["weight", "images"])
def test_only_what_learns_gets_a_gradient(frozen: str, dtype: torch.dtype) -> None:
    images, grad = randn(4, 16, 16, 16, dtype=dtype), randn(4, 32, 16, 16, seed=1, dtype=dtype)
    layer = _pair(16, 32)[0]
    both = _gradients(layer, images, grad)
    layer.weight.grad = None
    layer.weight.requires_grad_(frozen != "weight")
    images.requires_grad_(frozen != "images")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        layer(images).backward(grad)
    found = {"weight": layer.weight.grad, "images": images.grad}
    assert found.pop(frozen) is None
    assert all(values is not None and torch.equal(values, both[name]) for name, values in found.items())


def test_a_weight_may_change_between_forward_and_backward_pass(dtype: torch.dtype) -> None:
    """As with PyTorch's in half precision, which keeps a copy; in float32 it says so."""
    images, grad = randn(4, 16, 16, 16, dtype=dtype), randn(4, 32, 16, 16, seed=1, dtype=dtype)
    layer = _pair(16, 32)[0]
    expected = _gradients(layer, images, grad)["images"]
    images.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = layer(images)
    with torch.no_grad():
        layer.weight.mul_(2)
    if dtype == torch.float32:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.backward(grad)
        return
    output.backward(grad)
    assert images.grad is not None
    assert torch.equal(images.grad, expected)


@pytest.mark.parametrize("channels", [8, 16, 48])
def test_images_of_another_number_of_channels_are_refused(channels: int, dtype: torch.dtype) -> None:
    layer = _pair(32, 32)[0]
    with (
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
        pytest.raises(RuntimeError, match="channels"),
    ):
        layer(randn(4, channels, 16, 16, dtype=dtype))


def test_without_a_kernel_for_it_the_weights_gradient_is_pytorchs(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, grad = randn(4, 16, 16, 16, dtype=dtype), randn(4, 32, 16, 16, seed=1, dtype=dtype)
    layers = _pair(16, 32)
    monkeypatch.setattr(weight_gradients, "weight_kernel", lambda *_: None)
    ours, plain = (_gradients(layer, images, grad)["weight"] for layer in layers)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, plain)


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({"stride": 2}, randn(4, 16, 16, 16)),
        ({"bias": True}, randn(4, 16, 16, 16)),
        ({"groups": 2}, randn(4, 16, 16, 16)),
        ({}, randn(4, 16, 16, 16).contiguous()),
        ({}, randn(1, 16, 16, 16)),
        ({}, randn(4, 16, 16, 16).double()),
        ({}, randn(4, 16, 16, 16, dtype=torch.bfloat16)),
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
            _gradients(layer, randn(4, 16, 16, 16), torch.ones(4, 16, 16, 16)) for layer in (ours, plain)
        )
    assert found["output"].dtype == torch.bfloat16
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", DTYPES, ids=str)
def test_without_a_compiler_everything_is_pytorchs_to_the_bit(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "none")
    with ExitStack() as stack:
        for kernel in (weight_kernel, convolution._kernel):
            kernel.cache_clear()
            stack.callback(kernel.cache_clear)
        ours, plain = (
            _gradients(layer, randn(4, 16, 16, 16, dtype=kind), randn(4, 16, 16, 16, seed=1, dtype=kind))
            for layer in _pair(16, 16)
        )
        assert all(torch.equal(ours[name], plain[name]) for name in plain)


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
    assert len(calls) == 2 * (5 + 2 * 10) - (strided if weight_kernel(dtype, 2) is None else 0)
    assert (used - truth).norm() < max(1.1 * (unused - truth).norm(), 1e-3 * truth.norm())

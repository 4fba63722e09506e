"""Batch normalisation in channels-last memory: as near to float64 as PyTorch's in contiguous memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model import batch_norm
from model.batch_norm import BatchNorm2d, shortcut_from
from model.fused_batch_norm import fused_kernels, fused_scaling
from model.model import ResNet32Model

MANY = (64, 16, 32, 16)  # B, C, H, W: 32,768 values of a channel


def _layer(channels: int, kind: type[nn.BatchNorm2d], dtype: torch.dtype) -> nn.BatchNorm2d:
    layer = kind(channels).to(dtype)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(channels, generator=generator) + 0.5)
        layer.bias.copy_(torch.randn(channels, generator=generator))
    return layer


@pytest.fixture(params=["functions in C", "sums in parts"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to exact sums."""
    if request.param == "sums in parts":
        monkeypatch.setattr(batch_norm, "fused_kernels", lambda _: None)
    elif fused_kernels(torch.float32) is None:
        pytest.skip("no functions in C here: a processor without AVX2, or no C compiler")


def _results(
    kind: type[nn.BatchNorm2d],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    *,
    relu: bool = False,
    with_skip: bool = False,
    stored: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Output, gradients and running statistics after one batch, as float64; what goes in is rounded to `stored`."""
    generator = torch.Generator().manual_seed(0)
    images, noise, skip = (torch.randn(shape, generator=generator) + 0.3 for _ in range(3))
    grad = images + noise  # so that no sum is near zero, where relative errors mean nothing
    images, grad, skip = (
        tensor.to(stored).to(dtype).contiguous(memory_format=memory_format) for tensor in (images, grad, skip)
    )
    layer = _layer(shape[1], kind, torch.float32 if dtype == torch.bfloat16 else dtype)
    images.requires_grad_()
    skip.requires_grad_(with_skip)
    if kind is BatchNorm2d:
        output = layer(images, skip if with_skip else None, relu=relu)
    else:
        output = layer(images) + skip if with_skip else layer(images)
        output = output.relu() if relu else output
    output.backward(grad)
    named = {"output": output, "images": images.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    named |= {"skip": skip.grad} if with_skip else {}
    return {name: tensor.detach().double() for name, tensor in (named | dict(layer.named_buffers())).items()}


def _errors(results: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((results[name] - true).norm() / true.norm()) for name, true in truth.items()}


OF_ALL_WIDTHS = ((3, 240, 17, 19), (3, 248, 17, 19))  # 64 channels at once, and 32, 16 and (the second) 8 that are left
# the third has an odd number of rows a group; the fourth has many channels; the last has too few values
SHAPES = [MANY, (128, 16, 32, 32), (17, 24, 31, 32), (8, 600, 64, 32), (8, 16, 8, 8)]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_gradients_and_statistics_are_those_of_float64(shape: tuple[int, ...]) -> None:
    truth = _results(nn.BatchNorm2d, shape, torch.float64, torch.contiguous_format)
    own = _results(BatchNorm2d, shape, torch.float32, torch.channels_last)
    assert max(_errors(own, truth).values()) < 1e-6


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("with_skip", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [MANY, (128, 16, 32, 32), (17, 24, 31, 32), *OF_ALL_WIDTHS], ids=str)
def test_shortcut_and_relu_are_those_of_float64(shape: tuple[int, ...], *, relu: bool, with_skip: bool) -> None:
    """Where the sum is within rounding of 0, ReLU may let through what it stops in float64: seldom one of a million."""
    options = {"relu": relu, "with_skip": with_skip}
    truth = _results(nn.BatchNorm2d, shape, torch.float64, torch.contiguous_format, **options)
    own = _results(BatchNorm2d, shape, torch.float32, torch.channels_last, **options)
    errors = _errors(own, truth)
    gradients = {name: errors.pop(name) for name in ("images", "skip") if name in errors}
    assert max(errors.values()) < (1e-4 if relu else 1e-6)
    assert max(gradients.values()) < (2e-3 if relu else 1e-6)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("used", ["both", "shortcut", "residual"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_skip", [False, True])
def test_gradients_from_residual_and_shortcut_are_added(used: str, *, relu: bool, with_skip: bool) -> None:
    """The gradients of a sum of both, each weighted by numbers of its own, are those of float64."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((4, *MANY), generator=generator)
    values[2:] += values[0]  # so that no sum is near zero, where relative errors mean nothing

    def gradients(dtype: torch.dtype) -> list[Tensor]:
        images, skip, *factors = (part.to(dtype).contiguous(memory_format=torch.channels_last) for part in values)
        leaves = [images.requires_grad_(), skip.requires_grad_()]
        layer = _layer(MANY[1], BatchNorm2d, dtype)
        output = layer(images, skip if with_skip else None, relu=relu)
        taken = {"residual": output, "shortcut": shortcut_from(output)}
        assert torch.equal(taken["residual"], taken["shortcut"])
        total = sum(
            (taken[name] * factor).sum() for name, factor in zip(taken, factors, strict=True) if used in (name, "both")
        )
        return list(torch.autograd.grad(total, [*leaves[: 1 + with_skip], *layer.parameters()]))

    for own, truth in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert (own - truth).norm() < (2e-3 if relu else 1e-6) * truth.norm()


def test_a_shortcut_shares_the_memory_of_what_it_goes_around() -> None:
    if fused_kernels(torch.float32) is None:
        pytest.skip("no functions in C here: a processor without AVX2, or no C compiler")
    output = BatchNorm2d(16)(torch.randn(MANY).contiguous(memory_format=torch.channels_last))
    assert shortcut_from(output) is not output
    assert shortcut_from(output).data_ptr() == output.data_ptr()
    assert shortcut_from(output + 1).data_ptr() != output.data_ptr()


@pytest.fixture
def bfloat16() -> None:
    """There are functions for it."""
    if fused_kernels(torch.bfloat16) is None:
        pytest.skip("no functions in C for bfloat16 here: a processor without units for it, or no C compiler")


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("with_skip", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [MANY, (17, 48, 31, 32), (1, 16, 23, 23), OF_ALL_WIDTHS[0]], ids=str)
def test_in_bfloat16_only_the_results_are_rounded(shape: tuple[int, ...], *, relu: bool, with_skip: bool) -> None:
    """Images come and go in bfloat16, whose numbers lie 2⁻⁸ apart; the sums over them are as exact as ever."""
    options = {"relu": relu, "with_skip": with_skip, "stored": torch.bfloat16}
    truth = _results(nn.BatchNorm2d, shape, torch.float64, torch.contiguous_format, **options)
    own = _results(BatchNorm2d, shape, torch.bfloat16, torch.channels_last, **options)
    errors = _errors(own, truth)
    assert max(errors[name] for name in ("running_mean", "running_var")) < 1e-6
    assert errors["output"] < 2**-9
    assert max(errors[name] for name in ("weight", "bias")) < (1e-4 if relu else 1e-6)
    assert max(errors[name] for name in ("images", "skip") if name in errors) < (4e-3 if relu else 2**-9)


@pytest.mark.usefixtures("bfloat16")
def test_numbers_are_rounded_to_the_nearest_bfloat16_and_what_is_none_stays_none() -> None:
    """Scale 1 and shift 0 hand float32 sums of two bfloat16 numbers to the rounding, which is PyTorch's."""
    values = torch.randn(32, 16, 8, 8, generator=torch.Generator().manual_seed(0)).exp()
    images, skip = (part.bfloat16().contiguous(memory_format=torch.channels_last) for part in (values, values.sin()))
    images[0, :4, 0, 0] = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38]).bfloat16()
    found = fused_scaling(images, torch.ones(16), torch.zeros(16), skip, relu=False)
    assert torch.equal(found.nan_to_num(7), (images.float() + skip.float()).bfloat16().nan_to_num(7))


@pytest.mark.usefixtures("way")
def test_a_batch_normalised_by_hand() -> None:
    """Values 1 and 3 half and half: mean 2, standard deviation 1; weight 2, bias −1, a shortcut of 0.5."""
    images = torch.tensor([1.0, 3.0]).repeat(8 * 32 * 32 // 2)[:, None].expand(-1, 16)  # [M, C]
    images = images.reshape(8, 32, 32, 16).permute(0, 3, 1, 2)  # channels last
    layer = BatchNorm2d(16, eps=1e-12)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(-1.0)
    output = layer(images, torch.full_like(images, 0.5), relu=True)
    assert torch.allclose(output[:, :, :, 0::2], torch.zeros(()))  # 2 · (−1) − 1 + 0.5 = −2.5 → 0
    assert torch.allclose(output[:, :, :, 1::2], torch.tensor(1.5))  # 2 · 1 − 1 + 0.5


@pytest.mark.usefixtures("way")
def test_what_is_no_number_stays_none() -> None:
    """A loss that is no number must be noticed: ReLU hides none."""
    images = torch.randn(8, 16, 64, 64).contiguous(memory_format=torch.channels_last)
    images[3, 5, 7, 9] = float("nan")
    output = BatchNorm2d(16)(images, relu=True)
    assert output[:, 5].isnan().all()
    assert not output[:, :5].isnan().any()


@pytest.mark.usefixtures("way")
def test_batches_of_both_sizes_may_pass_before_the_gradients_are_taken() -> None:
    """As where labelled and unlabelled images take part in one step: both losses' gradients are those of each alone."""
    small, large = (
        torch.randn(size, 16, 16, 16, generator=torch.Generator().manual_seed(size)).contiguous(
            memory_format=torch.channels_last
        )
        for size in (1, 128)
    )
    layer = _layer(16, BatchNorm2d, torch.float32)
    (layer(small).square().sum() + layer(large).square().sum()).backward()
    assert layer.weight.grad is not None
    together = layer.weight.grad.clone()
    alone = torch.zeros(16)
    for images in (small, large):
        layer.weight.grad = None
        layer(images).square().sum().backward()
        alone += layer.weight.grad
    assert torch.allclose(together, alone, rtol=1e-6)


def test_without_a_momentum_the_statistics_are_the_plain_means_over_the_batches() -> None:
    """As averaged weights take them anew."""
    images = torch.randn((3, *MANY), generator=torch.Generator().manual_seed(0)).double() + 0.3
    layer = BatchNorm2d(MANY[1], momentum=None)
    for batch in images:
        layer(batch.float().contiguous(memory_format=torch.channels_last))
    assert int(layer.num_batches_tracked) == 3
    assert torch.allclose(layer.running_mean.double(), images.mean(dim=(0, 1, 3, 4)), rtol=1e-5)
    assert torch.allclose(layer.running_var.double(), images.var(dim=(1, 3, 4)).mean(dim=0), rtol=1e-5)


def test_the_output_is_ten_times_nearer_to_float64_than_the_kernel_for_channels_last() -> None:
    truth = _results(nn.BatchNorm2d, (128, 16, 32, 32), torch.float64, torch.contiguous_format)
    own, plain = (
        _errors(_results(kind, (128, 16, 32, 32), torch.float32, torch.channels_last), truth)
        for kind in (BatchNorm2d, nn.BatchNorm2d)
    )
    assert all(10 * own[name] < plain[name] for name in ("output", "images"))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("with_skip", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_in_evaluation_without_gradients_it_is_that_of_float64(*, relu: bool, with_skip: bool) -> None:
    images, skip = torch.randn(2, *MANY, generator=torch.Generator().manual_seed(1)).contiguous()
    given = [tensor.contiguous(memory_format=torch.channels_last) for tensor in (images, skip)]
    own, true = (
        _layer(16, kind, dtype).eval()
        for kind, dtype in ((BatchNorm2d, torch.float32), (nn.BatchNorm2d, torch.float64))
    )
    for layer in (own, true):
        layer.running_mean.copy_(torch.linspace(-1, 1, 16))
        layer.running_var.copy_(torch.linspace(0.1, 2, 16))
    with torch.inference_mode():
        found = own(given[0], given[1] if with_skip else None, relu=relu)
        expected = true(images.double()) + (skip.double() if with_skip else 0)
    expected = expected.relu() if relu else expected
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).norm() < 1e-7 * expected.norm()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_in_evaluation_with_gradients_it_is_torchs_to_the_bit(memory_format: torch.memory_format) -> None:
    images = torch.randn(MANY, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=memory_format)
    outputs = [_layer(16, kind, torch.float32).eval()(images) for kind in (BatchNorm2d, nn.BatchNorm2d)]
    assert torch.equal(*outputs)


def test_the_memory_format_is_kept() -> None:
    images = torch.randn(MANY).contiguous(memory_format=torch.channels_last).requires_grad_()
    output = BatchNorm2d(16)(images)
    (grad,) = torch.autograd.grad(output.square().sum(), images)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert grad.is_contiguous(memory_format=torch.channels_last)


def _gradients(dtype: torch.dtype, memory_format: torch.memory_format) -> Tensor:
    """Of a ResNet-32 with three experts at its first step, all in one vector."""
    torch.manual_seed(0)
    network = (
        ResNet32Model(num_classes=10, num_experts=3, use_norm=True, returns_feat=True)
        .to(dtype)
        .to(memory_format=memory_format)
    )
    images = torch.randn(64, 3, 32, 32).to(dtype).contiguous(memory_format=memory_format)
    logits = network.train()(images)["logits"]  # [B, E, C]
    targets = torch.arange(64) % 10
    nn.functional.cross_entropy(logits.flatten(0, 1), targets.repeat_interleave(3)).backward()
    return torch.cat(
        [parameter.grad.double().flatten() for parameter in network.parameters() if parameter.grad is not None]
    )


def test_a_networks_gradient_is_as_good_in_channels_last_memory_as_in_contiguous() -> None:
    truth = _gradients(torch.float64, torch.contiguous_format)
    contiguous, channels_last = (
        float((_gradients(torch.float32, memory_format) - truth).norm())
        for memory_format in (torch.contiguous_format, torch.channels_last)
    )
    assert channels_last < 2 * contiguous

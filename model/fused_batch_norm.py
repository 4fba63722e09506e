"""Batch normalisation, a shortcut's addition and ReLU in one pass over the memory, by functions in C.

    y = ReLU(weight · (x − μ)/σ + bias + skip), with mean μ and variance σ² (biased, plus eps) of the batch

Between two convolutions, with a shortcut and its gradient, PyTorch's own operations read and write the images nineteen
times in forward and backward pass, these eleven times. Sums are exact: see `model.batch_norm`.

Shapes: `B` batch, `C` channels, `M` = B·H·W values of a channel.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.kernels.kernels import UNITS, kernels
from utils.native_code import call, tried

__all__ = ["DTYPES", "fused_batch_norm", "fused_kernels"]


DTYPES = {torch.float32: (), torch.bfloat16: ("BFLOAT16",)}
"""Of images → what its functions are compiled with."""


def _are_right(functions: ctypes.CDLL, dtype: torch.dtype) -> bool:
    """Whether they compute what PyTorch does: a compiler may be wrong, too."""
    values = torch.arange(3 * 16 * 20 * 10, dtype=torch.float32).reshape(3, 16, 20, 10)
    weight, bias = torch.linspace(0.5, 1.5, 16), torch.linspace(-0.5, 0.5, 16)

    def results(*, fused: bool) -> list[Tensor]:
        images, skip = (values.sin() + 0.5).to(dtype), values.cos().to(dtype)
        given = [images.contiguous(memory_format=torch.channels_last), weight, bias, skip]
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        images, skip = leaves[0], leaves[3]
        if fused:
            outputs = _FusedBatchNorm.apply(*leaves, _Given(functions, 1e-5, True, None))
        else:
            normalised = F.batch_norm(images.float(), None, None, leaves[1], leaves[2], training=True)
            outputs = (F.relu(normalised + skip),) * 2
        # of sums: told the gradients of outputs, PyTorch imports its symbolic shapes for half a second
        sums = [((factor * values).cos() * output).sum() for factor, output in zip((2, 3), outputs, strict=True)]
        of_one = torch.autograd.grad(sums[0], leaves, retain_graph=True)
        of_both = torch.autograd.grad(sums[0] + sums[1], leaves)
        return [tensor.float() for tensor in (outputs[0].detach(), *of_one, *of_both)]

    with torch.inference_mode(mode=False), torch.enable_grad():
        pairs = zip(results(fused=True), results(fused=False), strict=True)
        return all(_close(ours, plain, dtype) for ours, plain in pairs)


@tried(_are_right)
def fused_kernels(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The functions for images of this dtype, tried on a small batch.

    None where they can't be had, and on processors on which they have not been measured: without AVX2 or AVX-512, and
    for bfloat16 without AVX-512.
    """
    units = {"AVX2", "AVX512"} if dtype == torch.float32 else {"AVX512"}
    return kernels("batch_norm", *DTYPES[dtype]) if UNITS in units else None


class Running(NamedTuple):
    """Running statistics [C], which move by `share` towards a batch's mean and unbiased variance."""

    mean: Tensor
    var: Tensor
    share: float


def fused_batch_norm(
    images: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip: Tensor | None,
    *,
    eps: float,
    relu: bool,
    running: Running | None = None,
) -> tuple[Tensor, Tensor]:
    """Normalised images [B, C, H, W] twice: the second is the first in the same memory.

    Where both are used, their gradients come back apart and are added in a pass over the memory that is made anyway.
    Everything is computed in float32, and rounded to the images' dtype once, at the end. There must be `fused_kernels`.

    Args:
        images: float32 or bfloat16, channels last; C a multiple of `model.kernels.kernels.LANES`.
        weight, bias: [C], float32.
        skip: added before ReLU, of the images' shape and dtype.
        eps: added to the variance.
        relu: whether ReLU follows.
        running: changed in place.
    """
    functions = fused_kernels(images.dtype)
    assert functions is not None
    given = _Given(functions, float(eps), relu, running)
    found: tuple[Tensor, Tensor] = _FusedBatchNorm.apply(images, weight, bias, skip, given)
    return found


def fused_scaling(images: Tensor, scale: Tensor, shift: Tensor, skip: Tensor | None, *, relu: bool) -> Tensor:
    """ReLU(scale · images + shift + skip), without gradients: what batch normalisation is in evaluation.

    Args:
        images, skip, relu: as of `fused_batch_norm`.
        scale, shift: [C], float32.
    """
    functions = fused_kernels(images.dtype)
    assert functions is not None
    output = torch.empty_like(images)
    added = None if skip is None else skip.contiguous(memory_format=torch.channels_last)
    call(functions, "normalise", images, added, output, None, scale, shift, int(relu), *_sizes(images))
    return output


class _Given(NamedTuple):
    """What isn't a tensor."""

    functions: ctypes.CDLL
    eps: float
    relu: bool
    running: Running | None


class _FusedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, *others: Any) -> tuple[Tensor, ...]:
        """Output [B, C, H, W] twice."""
        skip, given = others
        channels, sizes = images.size(1), _sizes(images)
        output = torch.empty_like(images)
        sums = torch.zeros(sizes[-1], 2, channels, dtype=torch.float64)
        of_channels, inverse_std = torch.empty(3, channels), torch.empty(channels, dtype=torch.float64)
        running_mean, running_var, share = given.running or (None, None, 0.0)
        added = None if skip is None else skip.contiguous(memory_format=torch.channels_last)
        through = torch.empty(images.numel() // 8, dtype=torch.uint8) if given.relu else None  # a bit for each value
        learnt = weight, bias, running_mean, running_var
        tensors = images, added, output, through, *learnt, sums, of_channels, inverse_std
        call(given.functions, "forward", *tensors, share, given.eps, int(given.relu), *sizes)
        ctx.save_for_backward(images, weight, of_channels, inverse_std, through)  # the mean comes first
        ctx.functions, ctx.has_skip = given.functions, skip is not None
        ctx.set_materialize_grads(False)
        return output, output.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        images, weight, mean, inverse_std, through = ctx.saved_tensors
        channels, sizes = images.size(1), _sizes(images)
        given = [grad.contiguous(memory_format=torch.channels_last) for grad in grads if grad is not None]
        grad, more = given[0], given[1] if len(given) > 1 else None
        of_images = torch.empty_like(images)
        needs_own = more is not None or (ctx.has_skip and through is not None)
        of_skip = torch.empty_like(images) if needs_own else None
        sums = torch.zeros(sizes[-1], 2, channels, dtype=torch.float64)
        of_channels = torch.empty(5, channels)
        tensors = grad, more, images, through, mean, inverse_std, weight, sums, of_channels, of_images, of_skip
        call(ctx.functions, "backward", *tensors, *sizes)
        skip_grad = (grad if of_skip is None else of_skip) if ctx.has_skip else None
        return of_images, of_channels[0], of_channels[1], skip_grad, None


def _sizes(images: Tensor) -> tuple[int, int, int]:
    """M, C and the number of threads."""
    values = images.numel() // images.size(1)
    return values, images.size(1), min(torch.get_num_threads(), values)


def _close(ours: Tensor, plain: Tensor, dtype: torch.dtype) -> bool:
    """Equal but for rounding to `dtype`."""
    tolerance = 1e-3 if dtype == torch.float32 else 2e-2
    return bool((ours - plain).norm() <= tolerance * plain.norm())

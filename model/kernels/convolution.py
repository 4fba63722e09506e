"""A 3×3 convolution with padding 1 and the gradient of its images, by a kernel in C where PyTorch's are slow.

Shapes: `B` batch, `I` and `O` input and output channels, `H'` and `W'`: ⌈H/stride⌉ and ⌈W/stride⌉.

bfloat16, on processors with AVX-512's products of pairs and without AMX: `convolution_bf16_pairs.c` is 1.1 to 1.4 times
as fast as oneDNN with up to 64 channels, and 2 to 3 times in the gradient of a stride of 2. Sums are in float32 and
rounded once, as oneDNN's are; in another order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from model.kernels.kernels import bfloat16_units, kernels
from utils.native_code import call, tried

__all__ = ["aten_gradients", "convolve", "image_gradient", "is_written"]

_MOST_CHANNELS = 64  # read or written: with more, oneDNN is as fast or faster
_Function = Callable[..., int]
_aten = torch.ops.aten


def is_written(images: Tensor, out_channels: int, stride: int) -> bool:
    """Whether the kernel is for a convolution of such images; if not, `convolve` is PyTorch's.

    Args:
        images: [B, I, H, W], as `model.kernels.kernels.suits` has found them.
        out_channels: O, a multiple of `model.kernels.kernels.LANES`.
        stride: 1 or 2.
    """
    return _kernel_for(images, out_channels, _strided(images.size(3), stride), 1) is not None


def convolve(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Output [B, O, H', W'], by the kernel where it is for it, else by PyTorch.

    Args:
        images: [B, I, H, W], channels last; I a multiple of `model.kernels.kernels.LANES`.
        weight: [O, I, 3, 3], of the images' dtype; O a multiple of it, too.
        stride: 1 or 2.
    """
    batch, _, height, width = images.shape
    written = batch, weight.size(0), _strided(height, stride), _strided(width, stride)
    kernel = _kernel_for(images, weight.size(0), written[3], 1)
    if kernel is None:
        return torch.conv2d(images, weight, stride=stride, padding=1)
    return _written(partial(call, kernel, "convolve"), images, weight, written, stride)


def image_gradient(images: Tensor, weight: Tensor, grad: Tensor, stride: int) -> Tensor:
    """Gradient of the images [B, I, H, W], by the kernel where it is for it, else by PyTorch.

    Args:
        images, weight, stride: as of `convolve`.
        grad: of the output, [B, O, H', W'], of the images' dtype, channels last.
    """
    kernel = _kernel_for(images, weight.size(0), images.size(3), stride)
    if kernel is None:
        return aten_gradients(images, weight, grad, (True, False, False), stride)[0]
    return _written(partial(call, kernel, "image_gradient"), grad, weight, images.shape, stride)


def aten_gradients(
    images: Tensor, weight: Tensor, grad: Tensor, wanted: tuple[bool, bool, bool], stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """PyTorch's own gradients, of those that are wanted: of the images, the weight, a bias."""
    ones = [1, 1]
    found: tuple[Tensor, Tensor, Tensor] = _aten.convolution_backward(
        grad, images, weight, None, [stride, stride], ones, ones, False, [0, 0], 1, wanted
    )
    return found


def _strided(side: int, stride: int) -> int:
    return (side - 1) // stride + 1


def _has_tiles(width: int, met: int) -> bool:
    """Whether the kernel can write rows of a width, `met` pixels of which each pixel that is read belongs to."""
    return width % 8 == 0 or width % (7 * met) == 0


def _kernel_for(images: Tensor, out_channels: int, width: int, met: int) -> ctypes.CDLL | None:
    """The kernel, where it is for so many channels and for writing such rows."""
    few = max(images.size(1), out_channels) <= _MOST_CHANNELS
    return _kernel(images.dtype) if few and _has_tiles(width, met) else None


def _written(function: _Function, read: Tensor, weight: Tensor, shape: Sequence[int], stride: int) -> Tensor:
    """What a function of the kernel makes of images or of a gradient."""
    written = torch.empty(shape, dtype=read.dtype, memory_format=torch.channels_last)
    weight = weight.contiguous(memory_format=torch.channels_last)
    packed = torch.empty(weight.numel(), dtype=read.dtype)
    height, width = map(max, read.shape[2:], shape[2:])  # the images', be they read or written
    sizes = read.size(0), height, width, weight.size(1), weight.size(0), stride
    function(read, weight, written, packed, *sizes, torch.get_num_threads())
    return written


def _is_right(kernel: ctypes.CDLL, dtype: torch.dtype) -> bool:
    """Whether it computes what PyTorch does: a compiler may be wrong, too. Each width has a tile of its own."""
    return all(_computes(kernel, dtype, width, stride) for width in (7, 8, 14, 28, 32) for stride in (1, 2))


def _computes(kernel: ctypes.CDLL, dtype: torch.dtype, width: int, stride: int) -> bool:
    """Whether it does for images of a width, as far as it is for them."""
    images = torch.arange(2 * 16 * 3 * width, dtype=torch.float32).reshape(2, 16, 3, width).sin()
    weight = torch.arange(32 * 16 * 9, dtype=torch.float32).reshape(32, 16, 3, 3).cos()
    images, weight = (values.to(dtype).contiguous(memory_format=torch.channels_last) for values in (images, weight))
    with torch.autocast("cpu", enabled=False):
        plain = torch.conv2d(images.float(), weight.float(), stride=stride, padding=1)
    grad = plain.sin().to(dtype).contiguous(memory_format=torch.channels_last)
    found = []
    if _has_tiles(plain.size(3), 1):
        found.append((_written(partial(call, kernel, "convolve"), images, weight, plain.shape, stride), plain))
    if _has_tiles(width, stride):
        plain_grad = aten_gradients(images.float(), weight.float(), grad.float(), (True, False, False), stride)[0]
        ours = _written(partial(call, kernel, "image_gradient"), grad, weight, images.shape, stride)
        found.append((ours, plain_grad))
    return all(torch.allclose(ours.float(), theirs, rtol=2**-8, atol=1e-3) for ours, theirs in found)


@tried(_is_right)
def _kernel(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled kernel for images of this dtype, tried on a small batch; None where it can't be had or isn't faster.

    Where the processor has AMX, PyTorch's convolutions use it.
    """
    is_faster = dtype == torch.bfloat16 and bfloat16_units() == "pairs"
    return kernels("convolution_bf16_pairs") if is_faster else None

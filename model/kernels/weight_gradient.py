"""The weight gradient of a 3×3 convolution, by a kernel in C where PyTorch's is slow.

Shapes: `B` batch, `I` and `O` input and output channels.

- float32, on processors with AVX2 and without AVX-512: oneDNN's weight gradient of channels-last images reaches 55 to
  70 % of the speed of matrix products, and takes a third of a ResNet-32's step. `weight_gradient.c` does 1.4 to 1.6
  times as much (single layers, one after the other).
- bfloat16, on processors with units for it. `weight_gradient_bf16_tiles.c`, for AMX, is 1.5 to 2.9 times as fast as
  oneDNN in a ResNet-32's layers (16 to 64 channels), which makes a step 1.16 times as fast.
  `weight_gradient_bf16_pairs.c`, for AVX-512's products, is 1.2 to 1.4 times as fast, with a stride of 2 twice, which
  makes a step 1.18 times as fast. The gradient stays in float32, where PyTorch rounds it to bfloat16.

Sums are at least as exact as oneDNN's.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from model.kernels.convolution import aten_gradients
from model.kernels.kernels import UNITS, bfloat16_units, kernels
from utils.native_code import call, tried

__all__ = ["weight_gradient", "weight_kernel"]


def weight_gradient(images: Tensor, weight: Tensor, grad: Tensor, stride: int = 1) -> Tensor:
    """Gradient of the weight, [O, I, 3, 3] in float32, by the kernel where there is one, else by PyTorch.

    Args:
        images: what went in, [B, I, H, W], float32 or bfloat16, channels last; I a multiple of
            `model.kernels.kernels.LANES`.
        weight: [O, I, 3, 3], of the images' dtype; O a multiple of it, too. Only its shape matters.
        grad: of what came out, [B, O, ⌈H/stride⌉, ⌈W/stride⌉], of the images' dtype, channels last.
        stride: 1 or 2.

    Raises:
        MemoryError: there is none for a thread's strip of an image.
    """
    kernel = weight_kernel(images.dtype, stride)
    if kernel is None:
        return aten_gradients(images, weight, grad, (False, True, False), stride)[1].float()
    return _call(kernel, images, grad, stride)


def _call(kernel: ctypes.CDLL, images: Tensor, grad: Tensor, stride: int) -> Tensor:
    float32 = images.dtype == torch.float32
    total = _in_float32(kernel, images, grad) if float32 else _in_bfloat16(kernel, images, grad, stride)
    return total.contiguous(memory_format=torch.channels_last)


def _in_float32(kernel: ctypes.CDLL, images: Tensor, grad: Tensor) -> Tensor:
    batch, in_channels, height, width = images.shape
    out_channels = grad.size(1)
    threads = min(torch.get_num_threads(), batch)
    sums = torch.zeros(threads, 3, 3, in_channels, out_channels)
    sizes = batch, height, width, in_channels, out_channels, threads
    if call(kernel, "weight_gradient", images, grad, sums, *sizes):
        raise MemoryError("there is no memory for the weight gradient's strip of an image")
    return sums.sum(dim=0).permute(3, 2, 0, 1)  # [threads, 3, 3, I, O] → [O, I, 3, 3]


def _in_bfloat16(kernel: ctypes.CDLL, images: Tensor, grad: Tensor, stride: int) -> Tensor:
    batch, in_channels, height, width = images.shape
    out_channels = grad.size(1)
    threads = min(torch.get_num_threads(), batch * (grad.size(2) + 1))
    sizes = batch, height, width, in_channels, out_channels, stride, threads
    scratch = torch.empty(threads, call(kernel, "scratch_bytes", *sizes), dtype=torch.uint8)
    result = torch.empty(out_channels, 3, 3, in_channels, dtype=torch.float32)
    call(kernel, "weight_gradient", images, grad, result, scratch, *sizes)
    return result.permute(0, 3, 1, 2)  # [O, 3, 3, I] → [O, I, 3, 3]


def _is_right(kernel: ctypes.CDLL, dtype: torch.dtype, stride: int) -> bool:
    """Whether it computes what PyTorch does: a compiler may be wrong, too, and the system may refuse tiles."""
    if hasattr(kernel, "permitted") and not call(kernel, "permitted"):
        return False
    images = torch.arange(2 * 48 * 5 * 6, dtype=torch.float32).reshape(2, 48, 5, 6).sin()
    grad = images[..., ::stride, ::stride].cos()
    images, grad = (values.to(dtype).contiguous(memory_format=torch.channels_last) for values in (images, grad))
    weight = torch.zeros(48, 48, 3, 3)
    plain = aten_gradients(images.float(), weight, grad.float(), (False, True, False), stride)[1]
    return torch.allclose(_call(kernel, images, grad, stride), plain, rtol=1e-4, atol=1e-4)


@tried(_is_right)
def weight_kernel(dtype: torch.dtype, stride: int) -> ctypes.CDLL | None:
    """The compiled kernel for images of this dtype and a stride, tried on a small batch.

    None where it can't be had, and where oneDNN's is as fast or none has been measured: in float32 with AVX-512 or with
    a stride, in bfloat16 without units for it, and with a stride where they are AMX.
    """
    if dtype == torch.float32:
        return kernels("weight_gradient") if UNITS == "AVX2" and stride == 1 else None
    units = bfloat16_units()
    is_faster = units == "pairs" or (units == "tiles" and stride == 1)
    return kernels(f"weight_gradient_bf16_{units}") if is_faster else None

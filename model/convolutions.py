"""3×3 convolutions that are computed by kernels of our own where PyTorch's are slow.

Shapes: `B` batch, `I` and `O` input and output channels.

Which those are, on which processors, and what is won: `model.kernels.convolution` for outputs and gradients of the
images, `model.kernels.weight_gradient`. What no kernel computes is PyTorch's to the bit. A kernel is compiled at its
first use; without a compiler, PyTorch computes everything.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model.kernels.convolution import convolve, image_gradient, is_written
from model.kernels.kernels import LANES, suits
from model.kernels.weight_gradient import weight_gradient, weight_kernel

__all__ = ["Conv2d"]

_LEAST_PIXELS = 512  # B·H·W: below, calling costs more than is won
_GEOMETRY = ((3, 3), (1, 1), (1, 1), 1, "zeros")
_STRIDES = ((1, 1), (2, 2))


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` by the faster kernels where there are any."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, I, H, W] → [B, O, H', W']."""
        if self._is_suited(images) and self._has_kernel(images):
            output: Tensor = _Conv3x3.apply(images, self.weight, self.stride[0])
            return output
        return super().forward(images)

    def _is_suited(self, images: Tensor) -> bool:
        """Whether kernels are for such a convolution and such images."""
        geometry = (self.kernel_size, self.padding, self.dilation, self.groups, self.padding_mode)
        return (
            suits(images, torch.float32, torch.bfloat16)
            and images.size(1) == self.in_channels
            and self.weight.device == images.device
            and images.dtype == (torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
            and self.weight.dtype == torch.float32
            and geometry == _GEOMETRY
            and self.stride in _STRIDES
            and self.bias is None
            and self.out_channels % LANES == 0
            and images.numel() >= _LEAST_PIXELS * self.in_channels
        )

    def _has_kernel(self, images: Tensor) -> bool:
        """Whether there is one for the output, or for the weight's gradient where that is wanted."""
        stride = self.stride[0]
        if is_written(images, self.out_channels, stride):
            return True
        return torch.is_grad_enabled() and self.weight.requires_grad and weight_kernel(images.dtype, stride) is not None


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        weight = weight.to(images.dtype)
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return convolve(images, weight, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        of_images, of_weight, _ = ctx.needs_input_grad
        grad = grad.contiguous(memory_format=torch.channels_last)
        return (
            image_gradient(images, weight, grad, ctx.stride) if of_images else None,
            weight_gradient(images, weight, grad, ctx.stride) if of_weight else None,
            None,
        )

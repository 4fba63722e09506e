"""Batch normalisation whose sums keep their digits in channels-last memory.

Shapes: `B` batch, `C` channels, `M` = B·H·W values of a channel, `k` groups that these are summed in.

PyTorch's CPU kernel for channels-last images adds a channel's M values one after another in float32, where that for
contiguous images has float64 sums. At M = 131,072 (a CIFAR batch of 128) mean and variance are a hundred times further
from the truth then, and a ResNet-32's gradient six times. Here k·C channels of M/k values are summed by the same
kernel (the memory is the same, read as [M/k, k·C]), and the k parts are added in float64.

Where there are functions in C (`model.fused_batch_norm`), they do all of it, what follows the normalisation included,
in evaluation and for bfloat16 images, too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model.fused_batch_norm import DTYPES, Running, fused_batch_norm, fused_kernels, fused_scaling
from model.kernels.kernels import suits

__all__ = ["BatchNorm2d", "norm_relu", "shortcut_from"]

_ROWS = 2048  # M/k: sums this short keep their digits
_FEW_VALUES = 16384  # M: below, PyTorch's own sums are right to six digits, and calling less is faster
_WORTH_A_CALL = 512  # M: below, calling the functions in C costs more than is won
_TWIN = "balpoe_twin"
_aten = torch.ops.aten


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with exact sums for images in channels-last memory on a CPU."""

    def forward(self, images: Tensor, skip: Tensor | None = None, *, relu: bool = False) -> Tensor:
        """[B, C, H, W] → the same shape; in training mode the running statistics move by `momentum`.

        None is torch's word for their plain mean over all batches.

        Args:
            images: what is normalised.
            skip: added to the outcome, of the same shape.
            relu: whether ReLU is applied to the sum.
        """
        if (self.training or not torch.is_grad_enabled()) and self._can_be_fused(images, skip):
            return self._fused(images, skip, relu=relu)
        if self.training and self._loses_digits(images):
            output, *statistics = _ChannelsLastBatchNorm.apply(images, self.weight, self.bias, self.eps)
            self._follow(images, *statistics)
        else:
            output = super().forward(images)
        return _finished(output, skip, relu=relu)

    def _can_be_fused(self, images: Tensor, skip: Tensor | None) -> bool:
        """Whether there are functions in C for them."""
        return (
            suits(images, *DTYPES)
            and images.numel() >= _WORTH_A_CALL * self.num_features
            and self.weight.dtype == torch.float32
            and (skip is None or skip.dtype == images.dtype)
            and fused_kernels(images.dtype) is not None
        )

    def _fused(self, images: Tensor, skip: Tensor | None, *, relu: bool) -> Tensor:
        """`forward` by the functions in C."""
        if not self.training:
            return fused_scaling(images, *self._scale_and_shift(), skip, relu=relu)
        assert self.running_mean is not None
        assert self.running_var is not None
        running = Running(self.running_mean, self.running_var, self._share_of_next())
        output, twin = fused_batch_norm(images, self.weight, self.bias, skip, eps=self.eps, relu=relu, running=running)
        setattr(output, _TWIN, twin)
        return output

    def _scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What the running statistics come to, for each channel: computed in float64, [C] in float32."""
        assert self.running_mean is not None
        assert self.running_var is not None
        scale = self.weight.double() * (self.running_var.double() + self.eps).rsqrt()
        shift = self.bias.double() - self.running_mean.double() * scale
        return scale.float(), shift.float()

    def _share_of_next(self) -> float:
        """Count a batch; by how much the running statistics move towards its own."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return 1 / int(self.num_batches_tracked) if self.momentum is None else float(self.momentum)

    def _follow(self, images: Tensor, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards a batch's mean and biased variance."""
        values = images.numel() // self.num_features
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            share = self._share_of_next()
            # `.data`: PyTorch's own BatchNorm, of a smaller batch in the same step, has put the statistics aside for a
            # backward pass that never reads them; it must not see that they have moved
            self.running_mean.data.lerp_(mean, share)
            self.running_var.data.lerp_(var * (values / (values - 1)), share)

    def _loses_digits(self, images: Tensor) -> bool:
        """Whether PyTorch's kernel would add many float32 values one after another."""
        return (
            images.device.type == "cpu"
            and images.dtype == torch.float32
            and images.numel() >= _FEW_VALUES * self.num_features
            and not images.is_contiguous()
            and images.is_contiguous(memory_format=torch.channels_last)
            and not torch.compiler.is_compiling()  # compiled code has sums of its own
        )


def norm_relu(norm: nn.Module, images: Tensor, skip: Tensor | None = None) -> Tensor:
    """ReLU(norm(images) + skip), in as few passes as `norm` can do it: [B, C, H, W] → the same shape."""
    if isinstance(norm, BatchNorm2d):
        fused: Tensor = norm(images, skip, relu=True)
        return fused
    return _finished(norm(images), skip, relu=True)


def shortcut_from(images: Tensor) -> Tensor:
    """What a shortcut takes where a residual takes `images`: the same numbers.

    Where functions in C have normalised them it is a second output of theirs, in the same memory. So the gradients of
    shortcut and residual reach them apart, and aren't added in a pass of their own.
    """
    twin: Tensor = getattr(images, _TWIN, images)
    return twin


def _finished(normalised: Tensor, skip: Tensor | None, *, relu: bool) -> Tensor:
    """What follows the normalisation."""
    total = normalised if skip is None else normalised + skip
    return F.relu(total, inplace=True) if relu else total


class _ChannelsLastBatchNorm(torch.autograd.Function):
    """Normalised images, and the mean and (biased) variance [C] that they were normalised by."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        channels = images.size(1)
        parts = torch.batch_norm_update_stats(_rows(images), None, None, 0.0)
        means, variances = (part.view(-1, channels).double() for part in parts)  # [k, C]
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)  # within the parts, and between them
        inverse_std = (var + eps).rsqrt()
        mean, var = mean.float(), var.float()
        output = _affine(images, (mean, var), weight, bias, eps=eps)
        ctx.save_for_backward(images, weight, mean, inverse_std)
        ctx.mark_non_differentiable(mean, var)
        return output, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """With x̂ = (x − μ)/σ: ∂w = Σ g·x̂, ∂b = Σ g, ∂x = w/σ · (g − ∂b/M − x̂·∂w/M), the last as a·g + (b·x + c)."""
        images, weight, mean, inverse_std = ctx.saved_tensors
        channels = images.size(1)
        values = images.numel() // channels
        grad = grad.contiguous(memory_format=torch.channels_last)
        images_by_rows = _rows(images)  # [M/k, k·C]
        groups = images_by_rows.size(1) // channels
        statistics = mean.repeat(groups), inverse_std.float().repeat(groups)
        sums = _aten.native_batch_norm_backward(
            _rows(grad), images_by_rows, None, None, None, *statistics, True, 0.0, [False, True, True]
        )
        grad_weight, grad_bias = (part.view(groups, channels).double().sum(0) for part in sums[1:])
        a = weight.double() * inverse_std
        b = -a * inverse_std * grad_weight / values
        c = -a * grad_bias / values - b * mean.double()
        identity = torch.zeros_like(mean), torch.ones_like(mean)
        grad_images = _affine(images, identity, b.float(), c.float(), eps=0.0)
        grad_images.addcmul_(grad, a.float().view(1, -1, 1, 1))
        return grad_images, grad_weight.float(), grad_bias.float(), None


def _rows(images: Tensor) -> Tensor:
    """Channels-last images [B, C, H, W] as [M/k, k·C] without a copy; k is a power of two."""
    channels = images.size(1)
    values = images.numel() // channels
    groups = 1
    while values // groups > _ROWS and values // groups % 2 == 0:
        groups *= 2
    return images.permute(0, 2, 3, 1).reshape(values // groups, groups * channels)  # [B, C, H, W] → [B, H, W, C]


def _affine(images: Tensor, mean_and_var: tuple[Tensor, Tensor], weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
    """weight · (images − mean)/√(var + eps) + bias, in one pass over the memory."""
    normalised: Tensor = _aten.native_batch_norm(images, weight, bias, *mean_and_var, False, 0.0, eps)[0]
    return normalised

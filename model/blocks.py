"""Residual blocks (He et al., arXiv 1512.03385; ResNeXt: Xie et al., arXiv 1611.05431) and stages made of them.

Every block maps [B, in_channels, H, W] to [B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉]: ReLU(norm(residual(x)) + skip(x)).
Submodules carry, and are registered in the order of, the names of published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model.batch_norm import BatchNorm2d, norm_relu, shortcut_from
from model.convolutions import Conv2d


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """3×3 convolution with padding 1, without bias (BatchNorm follows)."""
    return Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """1×1 convolution without bias (BatchNorm follows)."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)


class _Padded(torch.autograd.Function):
    """Every `stride`-th pixel in both directions, between `before` and `after` zero channels.

    The gradient lies in memory as the images do. That of a slice would lie contiguous, and turning it costs more than
    taking it.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, stride: int, before: int, after: int) -> Tensor:
        ctx.shape, ctx.stride, ctx.before = images.shape, stride, before
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        ctx.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        return F.pad(images[:, :, ::stride, ::stride], (0, 0, 0, 0, before, after))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        whole = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=ctx.memory_format).zero_()
        whole[:, :, :: ctx.stride, :: ctx.stride] = grad[:, ctx.before : ctx.before + ctx.shape[1]]
        return whole, None, None, None


class PadShortcut(nn.Module):
    """Shortcut A: every `stride`-th pixel in both directions, zero channels half before and half after."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        extra = out_channels - in_channels
        if extra < 0:
            raise ValueError(
                f"a padding shortcut cannot narrow {in_channels} channels to {out_channels}; "
                "let layer widths grow, or use projection shortcuts (ResNet32Model_B)"
            )
        self.stride = stride
        self.before, self.after = extra // 2, extra - extra // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] → [B, out, ⌈H/stride⌉, ⌈W/stride⌉]."""
        padded: Tensor = _Padded.apply(x, self.stride, self.before, self.after)
        return padded


class ResidualBlock(nn.Module):
    """ReLU(norm(residual(x)) + skip(x)), by default with projections named `downsample`.

    A subclass registers its convolutions, then calls `add_skip`, and defines `residual` and `last_norm`.
    """

    skip_name: ClassVar[str] = "downsample"
    out_channels: int

    def make_skip(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """The path around a residual that changes the shape."""
        return nn.Sequential(conv1x1(in_channels, out_channels, stride), BatchNorm2d(out_channels))

    def add_skip(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Register the path around the residual: the identity wherever the shape stays the same."""
        self.out_channels = out_channels
        same_shape = stride == 1 and in_channels == out_channels
        skip = nn.Identity() if same_shape else self.make_skip(in_channels, out_channels, stride)
        self.add_module(self.skip_name, skip)

    def residual(self, x: Tensor) -> Tensor:
        """The convolutions, up to the last one."""
        raise NotImplementedError

    def last_norm(self) -> nn.Module:
        """The BatchNorm that follows the last convolution."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] → [B, out, ⌈H/stride⌉, ⌈W/stride⌉]."""
        residual = self.residual(x)
        return norm_relu(self.last_norm(), residual, getattr(self, self.skip_name)(shortcut_from(x)))


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions of `width` channels."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, width, stride)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = BatchNorm2d(width)
        self.add_skip(in_channels, width, stride)

    def residual(self, x: Tensor) -> Tensor:
        """3×3 (strided), 3×3."""
        return self.conv2(norm_relu(self.bn1, self.conv1(x)))

    def last_norm(self) -> nn.Module:
        """After the second."""
        return self.bn2


class CifarBlockA(BasicBlock):
    """Basic block of the CIFAR networks with a parameter-free shortcut (A)."""

    skip_name = "shortcut"

    def make_skip(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """Shortcut A."""
        return PadShortcut(in_channels, out_channels, stride)


class CifarBlockB(BasicBlock):
    """Basic block of the CIFAR networks with a projection (shortcut B)."""

    skip_name = "shortcut"


class Bottleneck(ResidualBlock):
    """1×1, 3×3 (which carries the stride), 1×1 convolutions; the output has 4·`width` channels.

    The inner convolutions have ⌊width · group_width / 64⌋ · groups channels: `width` for a ResNet (one group of
    width 64), 2·`width` for a ResNeXt 32×4d.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, width: int, stride: int, *, groups: int = 1, group_width: int = 64) -> None:
        super().__init__()
        inner = width * group_width // 64 * groups
        if inner == 0:
            raise ValueError(f"a layer width of {width} leaves no channels for {groups} groups of width {group_width}")
        out_channels = width * self.expansion
        self.conv1 = conv1x1(in_channels, inner)
        self.bn1 = BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner, stride, groups)
        self.bn2 = BatchNorm2d(inner)
        self.conv3 = conv1x1(inner, out_channels)
        self.bn3 = BatchNorm2d(out_channels)
        self.add_skip(in_channels, out_channels, stride)

    def residual(self, x: Tensor) -> Tensor:
        """1×1, 3×3 (strided, grouped), 1×1."""
        x = norm_relu(self.bn1, self.conv1(x))
        return self.conv3(norm_relu(self.bn2, self.conv2(x)))

    def last_norm(self) -> nn.Module:
        """After the third."""
        return self.bn3


BlockFactory = Callable[[int, int, int], ResidualBlock]
"""(in_channels, width, stride) → a block."""


def make_stage(make_block: BlockFactory, in_channels: int, width: int, num_blocks: int, stride: int) -> nn.Sequential:
    """`num_blocks` blocks of `width`, the first with `stride`."""
    blocks: list[ResidualBlock] = []
    for index in range(num_blocks):
        block = make_block(in_channels, width, stride if index == 0 else 1)
        in_channels = block.out_channels
        blocks.append(block)
    return nn.Sequential(*blocks)

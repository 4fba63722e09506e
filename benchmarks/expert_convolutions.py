"""The convolutions that each expert has for itself, and ways of computing those of all experts.

Shapes: `B` batch, `E` experts, `I` and `O` one expert's input and output channels.

Images of joined ways lie side by side along the channels, [B, E·I, H, W], as the layer before would have left them.
Where the shared part ends, [B, I, H, W] are the same for all: copies of them are a way's own work. So are joining the
weights, which remain E parameters, and taking their gradient apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from model.convolutions import Conv2d
from model.experts import ExpertModel

SEPARATE, GROUPED, WIDE, DIAGONAL, STREAMS = "one after the other", "grouped", "wide", "block-diagonal", "streams"


@dataclass(frozen=True)
class Layer:
    """A convolution without bias of which each expert has its own, and the images that it gets.

    Args:
        experts: E.
        in_channels: I.
        out_channels: O.
        kernel, stride, padding, groups: of one expert's convolution.
        batch, side: the images are [batch, I, side, side].
        shared: all experts get the same images.
    """

    experts: int
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    padding: int
    groups: int
    batch: int
    side: int
    shared: bool

    def __str__(self) -> str:
        """For a table: "16→32, 3×3/2, 32²"."""
        stride = "" if self.stride == 1 else f"/{self.stride}"
        groups = "" if self.groups == 1 else f", {self.groups} groups"
        return f"{self.in_channels}→{self.out_channels}, {self.kernel}×{self.kernel}{stride}{groups}, {self.side}²"

    def convolution(self, *, inputs: int = 1, outputs: int = 1, groups: int = 1) -> Conv2d:
        """One with so many times the channels and groups of one expert's."""
        channels = inputs * self.in_channels, outputs * self.out_channels
        geometry = self.kernel, self.stride, self.padding
        convolution = Conv2d(*channels, *geometry, groups=groups * self.groups, bias=False)
        return convolution.to(memory_format=torch.channels_last)


def layers_of(build: Callable[[], ExpertModel], *, batch: int, side: int) -> Counter[Layer]:
    """The distinct convolutions of one expert's own part, and how many there are of each.

    Args:
        build: makes the network, here on tensors without storage.
        batch: B.
        side: of the images.
    """
    inputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, arguments: tuple[Tensor]) -> None:
        inputs[module] = arguments[0]

    with FakeTensorMode(), torch.no_grad():
        network = build().eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(keep)
        network(torch.empty(batch, 3, side, side))
    stages = [each for each in network.backbone.children() if isinstance(each, nn.ModuleList)]
    copies = [group for stage in stages for group in zip(*map(_convolutions, stage), strict=True)]
    return Counter(_layer(group, [inputs[each] for each in group]) for group in copies)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [each for each in module.modules() if isinstance(each, nn.Conv2d)]


def _layer(copies: Sequence[nn.Conv2d], inputs: Sequence[Tensor]) -> Layer:
    one, images = copies[0], inputs[0]
    return Layer(
        experts=len(copies),
        in_channels=one.in_channels,
        out_channels=one.out_channels,
        kernel=one.kernel_size[0],
        stride=one.stride[0],
        padding=int(one.padding[0]),
        groups=one.groups,
        batch=len(images),
        side=images.size(-1),
        shared=all(each is images for each in inputs),
    )


class Way(NamedTuple):
    """How the convolutions of all experts are computed.

    Attributes:
        joined: the outputs lie side by side in one tensor, and so do the images unless they are the same for all.
        forward: images → outputs.
    """

    joined: bool
    forward: Callable[[list[Tensor]], list[Tensor]]


def ways_of(layer: Layer, convolutions: Sequence[nn.Conv2d], streams: Sequence[Any] = ()) -> dict[str, Way]:
    """Title → way, of those that there are for such a layer.

    Args:
        layer: whose convolutions they are.
        convolutions: each expert's.
        streams: of the GPU, one for each expert; none: without that way.
    """
    weights = [each.weight for each in convolutions]
    experts = layer.experts

    def for_each(images: list[Tensor]) -> list[Tensor]:
        return images * experts if layer.shared else images

    def side_by_side(images: list[Tensor]) -> Tensor:
        return torch.cat(images * experts, dim=1) if layer.shared else images[0]

    def one_after_the_other(images: list[Tensor]) -> list[Tensor]:
        return [convolve(x) for convolve, x in zip(convolutions, for_each(images), strict=True)]

    def in_streams(images: list[Tensor]) -> list[Tensor]:
        here = torch.cuda.current_stream()
        outputs = []
        for convolve, x, stream in zip(convolutions, for_each(images), streams, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):  # the backward pass takes the same by itself
                outputs.append(convolve(x))
        for stream in streams:
            here.wait_stream(stream)
        return outputs

    grouped = _with_weight(layer.convolution(inputs=experts, outputs=experts, groups=experts))
    ways = {
        SEPARATE: Way(False, one_after_the_other),
        GROUPED: Way(True, lambda images: [grouped(side_by_side(images), torch.cat(weights))]),
    }
    if layer.shared:
        wide = _with_weight(layer.convolution(outputs=experts))
        ways[WIDE] = Way(True, lambda images: [wide(images[0], torch.cat(weights))])
    if layer.groups == 1:
        dense = _with_weight(layer.convolution(inputs=experts, outputs=experts))
        ways[DIAGONAL] = Way(True, lambda images: [dense(side_by_side(images), block_diagonal(weights))])
    if streams:
        ways[STREAMS] = Way(False, in_streams)
    return ways


def block_diagonal(weights: Sequence[Tensor]) -> Tensor:
    """E × [O, I, k, k] → [E·O, E·I, k, k], zero between experts."""
    inputs, last = weights[0].size(1), len(weights) - 1
    rows = [F.pad(each, (0, 0, 0, 0, i * inputs, (last - i) * inputs)) for i, each in enumerate(weights)]
    return torch.cat(rows)


def _with_weight(convolution: Conv2d) -> Callable[[Tensor, Tensor], Tensor]:
    """A convolution that is given its weight each time."""
    del convolution.weight

    def convolve(images: Tensor, weight: Tensor) -> Tensor:
        convolution.weight = weight
        return convolution(images)

    return convolve


class Values(NamedTuple):
    """What a layer's ways compute with: E tensors each, but one image tensor where it is the same for all.

    Attributes:
        convolutions: with their weights.
        images: [B, I, H, W].
        grads: of the outputs, [B, O, H', W'].
    """

    convolutions: list[Conv2d]
    images: list[Tensor]
    grads: list[Tensor]


def random_values(layer: Layer, *, dtype: torch.dtype, device: torch.device) -> Values:
    """Weights in float32; images and gradients in a dtype; all channels last."""

    def drawn(channels: int, side: int) -> Tensor:
        values = torch.randn(layer.batch, channels, side, side, device=device, dtype=dtype)
        return values.contiguous(memory_format=torch.channels_last)

    after = (layer.side + 2 * layer.padding - layer.kernel) // layer.stride + 1
    return Values(
        convolutions=[layer.convolution().to(device) for _ in range(layer.experts)],
        images=[drawn(layer.in_channels, layer.side) for _ in range(1 if layer.shared else layer.experts)],
        grads=[drawn(layer.out_channels, after) for _ in range(layer.experts)],
    )


Results = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Outputs; gradients of images and weights."""


def passes(
    way: Way, values: Values, autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Callable[[], Results]:
    """Forward and backward pass of a way.

    Args:
        way: of `ways_of`.
        values: the same for each way.
        autocast: gives the region of the forward pass.
    """
    images, grads = ([torch.cat(each, dim=1)] if way.joined else each for each in (values.images, values.grads))
    images = [each.detach().requires_grad_() for each in images]
    wanted = [*images, *(each.weight for each in values.convolutions)]

    def run() -> Results:
        with autocast():
            outputs = way.forward(images)
        return outputs, torch.autograd.grad(outputs, wanted, grads)

    return run

"""What a network costs, counted on tensors without storage: parameters, operations, memory for the backward pass.

Activations are the distinct storages that autograd keeps from the forward for the backward pass, weights aside; with
activation checkpointing also the largest residual block, which is there again while its gradient is computed. Half
precision is by the rules of autocast on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from model.experts import ExpertModel

MEMORY_MODES = {
    "fp32": (torch.float32, False),
    "bf16": (torch.bfloat16, False),
    "fp32 chk.": (torch.float32, True),
    "bf16 chk.": (torch.bfloat16, True),
}
"""Precision, and whether activations are checkpointed. tf32 keeps what fp32 does, and fp16 what bf16 does."""


@dataclass(frozen=True)
class Activations:
    """Bytes kept for the backward pass.

    Attributes:
        per_image: for each image, itself included.
        fixed: whatever the number of images: above all the weights' copies in half precision.
        recomputed: for each image, the largest residual block, with activation checkpointing; else 0.
    """

    per_image: int
    fixed: int
    recomputed: int

    def bytes_of(self, images: int) -> int:
        """Bytes for so many images at once."""
        return self.fixed + images * (self.per_image + self.recomputed)


@dataclass(frozen=True)
class NetworkCosts:
    """What the network alone costs.

    Attributes:
        parameters: their number.
        weight_bytes: parameters and buffers.
        forward: floating-point operations of a forward pass of an image, 2 a multiply-add.
        in_blocks: those of them in residual blocks.
        activations: mode (see `MEMORY_MODES`) → what is kept.
    """

    parameters: int
    weight_bytes: int
    forward: int
    in_blocks: int
    activations: Mapping[str, Activations]

    def training(self, *, checkpoints: bool) -> int:
        """Operations of forward and backward pass of an image, 2 a multiply-add."""
        return 3 * self.forward + (self.in_blocks if checkpoints else 0)


def saved_bytes(network: ExpertModel, images: Tensor, mode: str) -> tuple[int, list[int]]:
    """What autograd keeps of a forward pass in training, beside the network's own tensors.

    Args:
        network: its mode and `checkpoints_activations` are set here.
        images: [B, 3, H, W], B ≥ 2.
        mode: see `MEMORY_MODES`.

    Returns:
        Bytes in all, and those of each residual block beside its input, in the order in which they run.
    """
    dtype, network.backbone.checkpoints_activations = MEMORY_MODES[mode]
    own = {tensor.untyped_storage()._cdata for tensor in [*network.parameters(), *network.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice
    known: set[int] = set()
    blocks: list[int] = []

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage
        return tensor

    def enter(block: nn.Module, inputs: tuple[Tensor]) -> None:
        known.update(saved, [inputs[0].untyped_storage()._cdata])

    def leave(*_: Any) -> None:
        blocks.append(sum(storage.nbytes() for key, storage in saved.items() if key not in known))

    hooks = []
    for block in network.backbone.recomputed():
        hooks += [block.register_forward_pre_hook(enter), block.register_forward_hook(leave)]
    half = torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor), half:
        network.train()(images)
    for hook in hooks:
        hook.remove()
    return sum(storage.nbytes() for storage in saved.values()), blocks


def count_activations(network: ExpertModel, side: int) -> dict[str, Activations]:
    """What each of `MEMORY_MODES` keeps of images of a side: a line through the bytes of two and of four images."""
    activations: dict[str, Activations] = {}
    largest: dict[torch.dtype, int] = {}
    for mode, (dtype, checkpoints) in MEMORY_MODES.items():
        (two, blocks_of_two), (four, blocks_of_four) = (
            saved_bytes(network, torch.empty(count, 3, side, side), mode) for count in (2, 4)
        )
        per_image = (four - two) // 2
        if not checkpoints:  # these come first: only they show what lies within blocks
            largest[dtype] = max((b - a) // 2 for a, b in zip(blocks_of_two, blocks_of_four, strict=True))
        activations[mode] = Activations(per_image, two - 2 * per_image, largest[dtype] if checkpoints else 0)
    return activations


def network_costs(build: Callable[[], ExpertModel], side: int) -> NetworkCosts:
    """Count what a network that `build` makes costs with images of `side` pixels along a side."""
    with FakeTensorMode():
        network = build().eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.empty(1, 3, side, side))
        activations = count_activations(network, side)
    by_module = counter.get_flop_counts()
    names = {module: name for name, module in network.named_modules()}
    blocks = [names[block] for block in network.backbone.recomputed()]
    return NetworkCosts(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weight_bytes=sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()]),
        forward=counter.get_total_flops(),
        in_blocks=sum(sum(by_module[f"{type(network).__name__}.{name}"].values()) for name in blocks),
        activations=activations,
    )

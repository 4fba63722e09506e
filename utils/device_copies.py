"""Copies from this process's memory to a device that the process does not wait for, the room that is there, and copies
of many tensors at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def to_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array or a tensor of any shape and type as a tensor on a device; whatever lies there already as it is.

    From ordinary memory CUDA copies only after all that it has been given so far, while the process waits. Pinned
    memory it reads by itself when its turn comes, and PyTorch keeps it until then.
    """
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    # CUDA copies what isn't contiguous by way of ordinary memory
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


@torch.no_grad()
def copies_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """A copy of each tensor: for a GPU one piece of work a dtype, not one a tensor."""
    copied = [(tensor, torch.empty_like(tensor)) for tensor in tensors]
    copy_all([copy for _, copy in copied], [tensor for tensor, _ in copied])
    return [copy for _, copy in copied]


@torch.no_grad()
def copy_all(tensors: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, by others of the same shapes and dtypes: for a GPU one piece of work a dtype."""
    pairs: dict[torch.dtype, list[tuple[Tensor, Tensor]]] = {}
    for tensor, value in zip(tensors, values, strict=True):
        pairs.setdefault(tensor.dtype, []).append((tensor, value))
    for alike in pairs.values():
        torch._foreach_copy_([tensor for tensor, _ in alike], [value for _, value in alike])


def free_memory(device: torch.device) -> float:
    """Bytes that a GPU has free; infinite for the CPU, whose memory holds already what is to be copied."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf

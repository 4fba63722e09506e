"""Copies from this process's memory to a device that the process does not wait for, and the room that is there."""

from __future__ import annotations

import math

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
    return tensor.pin_memory().to(device, non_blocking=True)


def free_memory(device: torch.device) -> float:
    """Bytes that a GPU has free; infinite for the CPU, whose memory holds already what is to be copied."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf

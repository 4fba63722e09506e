"""The precision that a network computes in: one object whose parts do nothing where nothing is to be done.

Mixed precision: Micikevicius et al., ICLR 2018. Losses, log-priors and the cosine classifier stay in float32 by
themselves (`model.losses.base.at_least_float32`, `model.classifiers.full_precision`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from base.trainer_options import PrecisionName

ConcretePrecision = Literal["fp32", "tf32", "bf16", "fp16"]
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FAST_UNITS = ("amx_bf16", "avx512_bf16")
"""Capabilities of processors that were seen to train faster in bf16."""
_BF16_UNITS = (*_FAST_UNITS, "bf16", "sve_bf16")
"""Those, and ARM's, that compute in bf16 rather than imitate it."""


def fastest_safe(device: torch.device) -> ConcretePrecision:
    """What "auto" means on a device: bf16 where its processor multiplies matrices in it, else tf32.

    bf16 has float32's range, so that no loss scale is needed; fp16 is never chosen by itself.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = any(torch.cpu.get_capabilities().get(unit, False) for unit in _FAST_UNITS)
    return "bf16" if fast else "tf32"


def faster_precision(name: PrecisionName, device: torch.device) -> PrecisionName:
    """What to use where a precision is slower than it need be on a device; the same where it is not."""
    if device.type != "cpu" or name not in _AUTOCAST:
        return name
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if any(capabilities.get(unit, False) for unit in _BF16_UNITS) else "fp32"


def slow_precision(name: PrecisionName, device: torch.device) -> str | None:
    """What to tell of a precision that is slower than it need be on a device; None where it is not."""
    faster = faster_precision(name, device)
    if faster == name:
        return None
    if name == "fp16":
        return f"fp16 is very slow on a CPU; use {faster} there"
    return f"bf16 is slow on this processor, which has no units for it; use {faster}"


class Precision:
    """How forward and backward pass and update are computed.

    A checkpoint holds fp16's loss scale.

    Args:
        name: see `base.TrainerOptions`; "auto" is resolved here.
        device: to compute on.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        self.name = fastest_safe(device) if name == "auto" else name
        self.device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")

    def allow_tf32(self) -> None:
        """Tell torch, for the whole process, whether convolutions may use TF32."""
        torch.backends.cudnn.allow_tf32 = self.name != "fp32"

    def autocast(self) -> AbstractContextManager[Any]:
        """The region in which the network runs."""
        dtype = _AUTOCAST.get(self.name)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss (times fp16's scale) to the parameters'."""
        self._scaler.scale(loss).backward()

    def update(self, optimizer: Optimizer) -> None:
        """The optimiser's step; with fp16 it is left out where a gradient overflowed, and the scale is lowered."""
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """fp16's loss scale; empty in every other precision."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the loss scale up; a run that changes to fp16 begins with a new one."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)

"""Running means that stay on the device: nothing waits for the accelerator until somebody asks for a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from utils.distributed.context import DistributedContext


class RunningMeans:
    """Means of named values, weighted by how many images each stands for."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self.reset()

    def reset(self) -> None:
        """Forget everything counted so far."""
        self._sums: dict[str, Tensor] = {}
        self._weight = 0

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        """Count 0-dim tensors, each a mean over `weight` images."""
        self._add_sums({name: value.detach().double() * weight for name, value in values.items()}, weight)

    def merge(self, distributed: DistributedContext) -> None:
        """Bring what all processes have counted together in rank 0; the others start from nothing."""
        if distributed.size == 1:
            return
        states = distributed.gather(self.state_dict())
        self.reset()
        if distributed.is_main:
            for state in states:
                self._add_sums({name: value.to(self._device) for name, value in state["sums"].items()}, state["weight"])

    def means(self) -> dict[str, float]:
        """The means so far; waits for the device."""
        if not self._sums:
            return {}
        stacked = torch.stack(list(self._sums.values())).cpu() / self._weight
        return dict(zip(self._sums, stacked.tolist(), strict=True))

    def _add_sums(self, sums: Mapping[str, Tensor], weight: int) -> None:
        for name, value in sums.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._weight += weight

    def state_dict(self) -> dict[str, Any]:
        """What a continuation in the middle of an epoch needs."""
        return {"sums": {name: value.cpu() for name, value in self._sums.items()}, "weight": self._weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` was called."""
        self._sums = {name: value.to(self._device) for name, value in state["sums"].items()}
        self._weight = state["weight"]

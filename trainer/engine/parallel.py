"""How the network runs on the devices that a run has: one, several in one process, or a process for each."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from base import Share, micro_batches, share_of
from trainer.engine.precision import Precision
from utils.distributed.context import DistributedContext


class _InPrecision(nn.Module):
    """A network that sees to its precision by itself: DataParallel's threads don't know their caller's autocast."""

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(self, *inputs: Any) -> Any:
        """What the network returns."""
        with self.precision.autocast():
            return self.network(*inputs)


class Parallel:
    """A network as the training step calls it, and how a global batch is cut for it.

    Attributes:
        forward: the network on all its devices, in its precision.

    Args:
        network: on `device`; its weights are those of rank 0 from here on.
        precision: that it runs in.
        device: this process's own.
        distributed: the processes that share each batch.
        mode: see `base.TrainerOptions.parallel`.
        n_gpu: GPUs that DataParallel uses at most.
        accumulate_steps: micro-batches that a process takes its share in.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: Precision,
        *,
        device: torch.device,
        distributed: DistributedContext,
        mode: Literal["ddp", "dp", "none"],
        n_gpu: int,
        accumulate_steps: int,
    ) -> None:
        self.distributed = distributed
        self.accumulate_steps = accumulate_steps
        network = _InPrecision(network, precision)
        self.forward: nn.Module = network
        self._distributed: DistributedDataParallel | None = None
        if distributed.group is not None:
            devices = [device] if device.type == "cuda" else None
            self._distributed = DistributedDataParallel(network, device_ids=devices, gradient_as_bucket_view=True)
            self.forward = self._distributed
        elif mode == "dp" and device.type == "cuda":
            self.forward = DataParallel(network, device_ids=list(range(gpus_in_use(mode, n_gpu, distributed))))

    def share(self, batch_size: int) -> Share:
        """What this process takes of a global batch."""
        return share_of(batch_size, self.distributed.rank, self.distributed.size)

    def micro_batches(self, share: Share) -> list[Share]:
        """What it takes at once of its share."""
        return micro_batches(share, self.accumulate_steps)

    def loss_factor(self, part: Share) -> float:
        """What a part's mean loss is multiplied by, so that the gradients are those of the global batch's mean loss.

        DistributedDataParallel takes the mean over the processes, hence their number.
        """
        return part.weight * self.distributed.size

    def exchange(self, *, now: bool) -> AbstractContextManager[None]:
        """Around forward and backward pass: whether the processes exchange gradients after this one."""
        if self._distributed is None or now:
            return nullcontext()
        return self._distributed.no_sync()


def processes_to_start(mode: str, n_gpu: int, distributed: DistributedContext) -> int:
    """How many processes a plain command starts: one for each GPU that is wanted and there; 0: it trains itself."""
    if mode != "ddp" or distributed.launch:
        return 0
    wanted = min(n_gpu, torch.cuda.device_count())
    return wanted if wanted > 1 else 0


def gpus_in_use(mode: str, n_gpu: int, distributed: DistributedContext) -> int:
    """How many GPUs share a batch; on a CPU, how many processes."""
    if mode == "dp" and distributed.group is None:
        return max(min(n_gpu, torch.cuda.device_count()), 1)
    return distributed.size

"""How a method's gradients come about on the devices of a run: shards, micro-batches, processes, precision."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.parallel import DataParallel, DistributedDataParallel

from base import Batch, Step
from trainer.engine.precision import Precision
from trainer.methods.base import Method, StepOutput
from utils.distributed.context import DistributedContext
from utils.distributed.environment import LaunchEnvironment
from utils.late_compiler import without_compiler


class StepMeasures(NamedTuple):
    """What is measured of a step.

    Attributes:
        loss: this process's part of the mean loss over the global batch, 0-dim, detached.
        means: for each micro-batch what is to be recorded, and the images that it is the mean over.
    """

    loss: Tensor
    means: list[tuple[dict[str, Tensor], int]]


class Engine:
    """A method as the training step uses it.

    Args:
        method: on `device`; its network's weights are those of rank 0 from here on.
        precision: of the backward pass; the network sees to its own.
        device: this process's own.
        distributed: the processes that share each batch.
        mode: see `base.TrainerOptions.parallel`.
        n_gpu: GPUs that DataParallel uses at most.
        accumulate_steps: micro-batches that a process takes its shard in.
    """

    def __init__(
        self,
        method: Method,
        precision: Precision,
        *,
        device: torch.device,
        distributed: DistributedContext,
        mode: Literal["ddp", "dp", "none"] = "ddp",
        n_gpu: int = 1,
        accumulate_steps: int = 1,
    ) -> None:
        self.method = method
        self.precision = precision
        self.device = device
        self.distributed = distributed
        self.accumulate_steps = accumulate_steps
        self._synchronised: DistributedDataParallel | None = None
        self._trained: list[str] = []
        if mode == "dp" and device.type == "cuda" and distributed.group is None:
            gpus = list(range(gpus_in_use(mode, n_gpu, distributed)))
            method.spread(DataParallel(method.network, device_ids=gpus))
        self.follow_parameters()

    def follow_parameters(self) -> None:
        """Prepare for the parameters that the method trains now; to be called after it has frozen or freed some.

        DistributedDataParallel waits for the gradients of exactly those that it was built with. All processes begin
        with rank 0's buffers: a method may use BatchNorm's statistics from here on.
        """
        if self.distributed.group is None:
            return
        self.distributed.copy_from_main(self.method.network.buffers())
        trained = [name for name, weight in self.method.named_parameters() if weight.requires_grad]
        if trained == self._trained:
            return
        self._trained = trained
        own = {id(value) for value in (*self.method.network.parameters(), *self.method.network.buffers())}
        tensors = [*self.method.named_parameters(), *self.method.named_buffers()]
        # a teacher's weights, averages and counts are each process's own: what is common about them the method sees to
        others = [name for name, value in tensors if id(value) not in own]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.method, others)
        devices = [self.device] if self.device.type == "cuda" else None
        with without_compiler():
            self._synchronised = DistributedDataParallel(self.method, device_ids=devices, gradient_as_bucket_view=True)
            with self._synchronised._inside_ddp_forward():  # the first time it asks the compiler to keep out
                pass
        # BatchNorm's statistics are each process's own within an epoch; before each step they needn't travel
        self._synchronised.broadcast_buffers = False

    def accumulate(self, batches: Mapping[str, Batch], step: Step, *, synchronised: bool = True) -> StepMeasures:
        """Add the gradients of the global batch's mean loss to the parameters'.

        Args:
            batches: this process's shard of the batch of each of the method's loaders.
            step: where training stands.
            synchronised: whether the processes exchange gradients; else they have their own images' only.
        """
        parts = self.micro_batches(batches)
        outputs = []
        for part in parts:
            with self.gradient_sync(enabled=synchronised and part is parts[-1]):
                outputs.append(self.add_gradients(part, step))
        shards = [part["train"].shard for part in parts]
        losses = [_weighed_loss(output, part).detach() for part, output in zip(parts, outputs, strict=True)]
        means = [(output.logs, shard.num_counted) for shard, output in zip(shards, outputs, strict=True)]
        return StepMeasures(torch.stack(losses).sum(), means)

    def add_gradients(self, part: Mapping[str, Batch], step: Step, *, alone: bool = False) -> StepOutput:
        """Forward and backward pass of a micro-batch; `alone`: without a word to other processes."""
        on_device = {name: batch.to(self.device) for name, batch in part.items()}
        run = self.method if alone or self._synchronised is None else self._synchronised
        output = cast(StepOutput, run(on_device, step))
        # DistributedDataParallel takes the mean over the processes, hence their number
        self.precision.backward(_weighed_loss(output, part, times=self.distributed.size))
        return output

    def micro_batches(self, batches: Mapping[str, Batch]) -> list[dict[str, Batch]]:
        """What the process takes at once of its shards: as many parts of each loader's batch."""
        count = min(len(batch.shard.split(self.accumulate_steps)) for batch in batches.values())
        cut = {name: batch.split(count) for name, batch in batches.items()}
        return [{name: parts[index] for name, parts in cut.items()} for index in range(count)]

    def gradient_sync(self, *, enabled: bool) -> AbstractContextManager[None]:
        """Around forward and backward pass: whether the processes exchange gradients after it."""
        if self._synchronised is None or enabled:
            return nullcontext()
        return self._synchronised.no_sync()


def _weighed_loss(output: StepOutput, part: Mapping[str, Batch], *, times: int = 1) -> Tensor:
    """What a micro-batch adds to the loss of the global batches, 0-dim: each loader's loss by its own images' part."""
    loss = output.loss * (part["train"].shard.weight * times)
    for name, further in output.further_losses.items():
        loss = loss + further * (part[name].shard.weight * times)
    return loss


def processes_to_start(mode: str, n_gpu: int, environment: LaunchEnvironment) -> int:
    """How many processes a plain command starts: one for each GPU that is wanted and there; 0: it trains itself."""
    if mode != "ddp" or environment.launch:
        return 0
    wanted = min(n_gpu, torch.cuda.device_count())
    return wanted if wanted > 1 else 0


def gpus_in_use(mode: str, n_gpu: int, distributed: DistributedContext) -> int:
    """How many GPUs share a batch; on a CPU, how many processes."""
    if mode == "dp" and distributed.group is None:
        return max(min(n_gpu, torch.cuda.device_count()), 1)
    return distributed.size

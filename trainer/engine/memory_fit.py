"""The fewest micro-batches that fit into a GPU's memory, found by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from base import Step
from trainer.engine.batches import batches_of_epoch
from trainer.trainer import Trainer
from utils.device_copies import copies_of, copy_all
from utils.distributed.context import DistributedContext
from utils.memory import lack_of_memory

logger = logging.getLogger(__name__)


def fewest_that_fit(attempt: Callable[[int], None], most: int, *, everywhere: Callable[[bool], bool]) -> int:
    """The first of 1, 2, 4, … and `most` for which `attempt` does not run out of memory.

    Args:
        attempt: takes the number of micro-batches; raises an error that tells of a lack of memory.
        most: micro-batches at most.
        everywhere: whether it fitted here → whether it fitted in all processes.

    Raises:
        torch.OutOfMemoryError: `most` don't fit either.
    """
    count = 1
    while True:
        lacking = ""  # the error itself would keep what fills the memory
        try:
            attempt(count)
        except RuntimeError as error:
            lacking = lack_of_memory(error) or _lack_of_space(error)
            if not lacking:
                raise
        if everywhere(not lacking):
            return count
        if lacking and count >= most:
            raise torch.OutOfMemoryError(lacking)
        count = min(2 * count, most)


def fit_memory(trainer: Trainer) -> None:
    """Set the fewest micro-batches with which training fits into the GPU's memory, as `accumulate_steps: auto` asks.

    Forward and backward pass of the first batch are tried, uncompiled, with as much memory set aside as the optimiser's
    state will take. Each process tries by itself: one that runs out of memory would leave the others waiting. The trial
    leaves no trace in the weights, BatchNorm's statistics or the gradients. What it finds is in the checkpoints, so
    that a continued run goes on with it; a CPU takes everything at once.
    """
    engine, state, network = trainer.engine, trainer.state, trainer.method.network
    if engine.device.type != "cuda" or state.accumulate_steps:
        return
    batches = next(iter(batches_of_epoch(trainer.loaders, 1, 0, trainer.distributed)))
    buffers = copies_of(network.buffers())
    trainer.method.start_epoch(1)

    def attempt(count: int) -> None:
        torch.cuda.empty_cache()
        reserved = [torch.empty_like(weight) for weight in trainer.method.trainable_parameters() for _ in range(2)]
        try:
            engine.accumulate_steps = count
            parts = engine.micro_batches(batches)
            largest = max(parts, key=lambda part: len(part["train"].shard))
            for _ in range(min(count, 2)):  # the second micro-batch finds the gradients of the first in memory
                engine.add_gradients(largest, Step(1, 0), alone=True)
        finally:
            del reserved
            trainer.optimizer.zero_grad(set_to_none=True)

    shard = batches["train"].shard
    uncompiled = torch.compiler.set_stance("force_eager") if trainer.options.compile else nullcontext()
    with statistics_of_this_process(network, trainer.distributed), uncompiled:
        state.accumulate_steps = fewest_that_fit(
            attempt, len(shard.split(len(shard))), everywhere=lambda here: all(trainer.distributed.gather(here))
        )
    engine.accumulate_steps = state.accumulate_steps
    copy_all(network.buffers(), buffers)
    images = max(len(part["train"].shard) for part in engine.micro_batches(batches))
    text = "accumulate_steps auto: %d images a micro-batch, %d micro-batches a step"
    logger.info(text, images, state.accumulate_steps)


def _lack_of_space(error: RuntimeError) -> str:
    """What libraries also say where no memory is left for their own: another cause would stay with fewer images."""
    said = str(error)
    return said.splitlines()[0] if "STATUS_NOT_INITIALIZED" in said or "unable to find an engine" in said else ""


@contextmanager
def statistics_of_this_process(network: nn.Module, distributed: DistributedContext) -> Iterator[None]:
    """BatchNorm layers that have common statistics of all processes ask none of them."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.SyncBatchNorm)]
    groups = [layer.process_group for layer in layers]
    alone = distributed.alone() if layers else None
    for layer in layers:
        layer.process_group = alone
    try:
        yield
    finally:
        for layer, group in zip(layers, groups, strict=True):
            layer.process_group = group

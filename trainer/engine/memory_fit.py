"""The fewest micro-batches that fit into a GPU's memory, found by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from base import Step
from trainer.engine.batches import batches_of_epoch
from trainer.trainer import Trainer

logger = logging.getLogger(__name__)


def fewest_that_fit(attempt: Callable[[int], None], most: int, *, everywhere: Callable[[bool], bool]) -> int:
    """The first of 1, 2, 4, … and `most` for which `attempt` does not run out of memory.

    Args:
        attempt: takes the number of micro-batches; raises `torch.OutOfMemoryError`.
        most: micro-batches at most.
        everywhere: whether it fitted here → whether it fitted in all processes.

    Raises:
        torch.OutOfMemoryError: `most` don't fit either.
    """
    count = 1
    while True:
        try:
            attempt(count)
            fitted = True
        except torch.OutOfMemoryError:
            if count >= most:
                raise
            fitted = False
        if everywhere(fitted):
            return count
        count = min(2 * count, most)


def fit_memory(trainer: Trainer) -> None:
    """Set the fewest micro-batches with which training fits into the GPU's memory, as `accumulate_steps: auto` asks.

    Forward and backward pass of the first batch are tried, with as much memory set aside as the optimiser's state will
    take. The trial leaves no trace in the weights, BatchNorm's statistics or the gradients. What it finds is in the
    checkpoints, so that a continued run goes on with it; a CPU takes everything at once.
    """
    engine, state, network = trainer.engine, trainer.state, trainer.method.network
    if engine.device.type != "cuda" or state.accumulate_steps:
        return
    batches = next(iter(batches_of_epoch(trainer.loaders, 1, 0, trainer.distributed)))
    buffers = [buffer.clone() for buffer in network.buffers()]
    trainer.method.start_epoch(1)

    def attempt(count: int) -> None:
        torch.cuda.empty_cache()
        reserved = [torch.empty_like(weight) for weight in trainer.method.trainable_parameters() for _ in range(2)]
        try:
            engine.accumulate_steps = count
            parts = engine.micro_batches(batches)
            largest = max(parts, key=lambda part: len(part["train"].shard))
            for _ in range(min(count, 2)):  # the second micro-batch finds the gradients of the first in memory
                engine.add_gradients(largest, Step(1, 0))
        finally:
            del reserved
            trainer.optimizer.zero_grad(set_to_none=True)

    shard = batches["train"].shard
    with engine.gradient_sync(enabled=False):
        state.accumulate_steps = fewest_that_fit(
            attempt, len(shard.split(len(shard))), everywhere=lambda here: all(trainer.distributed.gather(here))
        )
    engine.accumulate_steps = state.accumulate_steps
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)
    images = max(len(part["train"].shard) for part in engine.micro_batches(batches))
    text = "accumulate_steps auto: %d images a micro-batch, %d micro-batches a step"
    logger.info(text, images, state.accumulate_steps)

"""The fewest micro-batches that fit into a GPU's memory, found by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from base import micro_batches
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
    use, state = trainer.ingredients, trainer.state
    if use.device.type != "cuda" or state.accumulate_steps:
        return
    share = use.parallel.share(use.train_loader.images_of_step(0))
    batch = next(use.train_loader.epoch(1, rank=trainer.distributed.rank, size=trainer.distributed.size))
    buffers = [buffer.clone() for buffer in use.model.buffers()]
    use.model.train()

    def attempt(count: int) -> None:
        torch.cuda.empty_cache()
        reserved = [torch.empty_like(weight) for weight in use.model.parameters() for _ in range(2)]
        try:
            largest = max(micro_batches(share, count), key=len)
            images = batch.cut(largest.begin - share.begin, largest.end - share.begin)
            for _ in range(min(count, 2)):  # the second micro-batch finds the gradients of the first in memory
                trainer.add_gradients(images, largest, 1, 0)
        finally:
            del reserved
            use.optimizer.zero_grad(set_to_none=True)

    with use.parallel.exchange(now=False):
        state.accumulate_steps = fewest_that_fit(
            attempt,
            len(micro_batches(share, len(share))),
            everywhere=lambda here: all(trainer.distributed.gather(here)),
        )
    use.parallel.accumulate_steps = state.accumulate_steps
    for buffer, kept in zip(use.model.buffers(), buffers, strict=True):
        buffer.copy_(kept)
    images = max(map(len, use.parallel.micro_batches(share)))
    logger.info("accumulate_steps: micro-batches of %d images, %d a step", images, state.accumulate_steps)

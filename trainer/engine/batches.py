"""The batches of a step: one of each named loader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from base import BaseDataLoader, Batch
from utils.distributed.context import DistributedContext


def batches_of_epoch(
    loaders: Mapping[str, BaseDataLoader], epoch: int, first_step: int, distributed: DistributedContext
) -> Iterator[dict[str, Batch]]:
    """This process's shards of the batches of an epoch's steps.

    "train" counts the steps; the other loaders begin a new epoch of their own whenever one has ended, so that step n
    of the run has their batch n, whatever happened before.

    Args:
        loaders: name → loader; one is called "train".
        epoch: counted from 1.
        first_step: begin with this step, counted from 0.
        distributed: the processes that share each batch.
    """
    train = loaders["train"]
    done = (epoch - 1) * len(train) + first_step
    others = {name: _endless(loader, done, distributed) for name, loader in loaders.items() if name != "train"}
    for batch in train.epoch(epoch, first_step=first_step, rank=distributed.rank, size=distributed.size):
        yield {"train": batch, **{name: next(batches) for name, batches in others.items()}}


def _endless(loader: BaseDataLoader, first_batch: int, distributed: DistributedContext) -> Iterator[Batch]:
    """The batches of a loader from the `first_batch`th of the run on, one epoch after the other."""
    epoch, step = first_batch // len(loader) + 1, first_batch % len(loader)
    while True:
        yield from loader.epoch(epoch, first_step=step, rank=distributed.rank, size=distributed.size)
        epoch, step = epoch + 1, 0

"""From a checkpoint to logits: each network runs once over a test split, everything after that is array arithmetic.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from base import BaseDataLoader, Batch, View
from data_loader.lost_workers import report_lost_workers
from model.experts import expert_logits_of
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.reporting.progress import progress_bar


@dataclass(frozen=True)
class Predictions:
    """What a checkpoint's networks say of a test split.

    Args:
        logits: each expert's raw logits, float32, shape [N, E, C], by the name of the weights: "raw", "averaged".
        targets: labels, int64, shape [N].
        skipped: indices of images of the split that could not be read, and are not among the N.
        trained_on: indices of images of the split that the networks were trained on; None: not known.
    """

    logits: dict[str, np.ndarray]
    targets: np.ndarray
    skipped: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    trained_on: np.ndarray | None = None


class Predicted(NamedTuple):
    """What one network says of the images of a split that could be read.

    Attributes:
        logits: each expert's, float32, shape [N, E, C].
        targets: labels, int64, shape [N].
        skipped: indices of the split's other images, int64.
    """

    logits: np.ndarray
    targets: np.ndarray
    skipped: np.ndarray


@torch.inference_mode()
def predict(
    model: nn.Module,
    loader: BaseDataLoader,
    device: torch.device,
    *,
    distributed: DistributedContext | None = None,
    title: str = "evaluation",
    view: View = "test",
    epoch: int = 0,
    between_batches: Callable[[], None] = lambda: None,
    watch: Callable[[Iterator[Batch]], Iterator[Batch]] = iter,
) -> Predicted | None:
    """Run a network over a loader's split, without augmentation and in file order.

    Several processes take whole batches in turn, the same ones that a single process would take.

    Args:
        model: see `model.experts.ExpertModel`; it is put into evaluation mode and back.
        loader: of the split to evaluate.
        device: where the model lies.
        distributed: the processes that share the work; None: this one is alone.
        title: of the progress bar.
        view: how the images are seen: without augmentation, or by another view's random transforms.
        epoch: of these; another one has other random numbers.
        between_batches: called after each round of batches, equally often in all processes; what it raises ends the
            evaluation.
        watch: passes the batches on, and looks after the time that they are waited for.

    Returns:
        in rank 0, None in the others: logits float32 [N, E, C] and targets int64 [N] of the images that could be read.

    Raises:
        UserError: an image that may not be skipped can't be read, or none could be.
    """
    distributed = distributed or DistributedContext()
    was_training = model.training
    model.eval()
    gathered = _Gathered(loader, distributed)
    batches = watch(loader.epoch(epoch, first_step=distributed.rank, every=distributed.size))
    with progress_bar(title, loader.num_images, shown=distributed.is_main) as bar, report_lost_workers():
        batch = next(batches, None)
        for first in range(0, len(loader), distributed.size):
            logits = None if batch is None else expert_logits_of(model(batch.to(device).view(view)))
            batch = next(batches, None)  # is read while a GPU computes; the last round may have none for this process
            if logits is not None:
                gathered.add(logits.float().cpu(), first + distributed.rank)
            bar.update(gathered.receive_round(first))
            between_batches()
    model.train(was_training)
    skipped = np.unique(np.concatenate(distributed.gather(loader.unreadable)))
    if gathered.logits is None:
        return None
    if len(skipped) == len(loader.targets):
        raise UserError(f"not one of {len(skipped)} images can be read")
    return Predicted(np.delete(gathered.logits.numpy(), skipped, axis=0), np.delete(loader.targets, skipped), skipped)


class _Gathered:
    """The logits of a whole split, which rank 0 collects batch by batch.

    Attributes:
        logits: float32, shape [N, E, C]; None in the other processes.
    """

    def __init__(self, loader: BaseDataLoader, distributed: DistributedContext) -> None:
        self.loader = loader
        self.distributed = distributed
        self.logits: torch.Tensor | None = None

    def add(self, logits: torch.Tensor, step: int) -> None:
        """Keep, or send to rank 0, the logits [B, E, C] of batch `step`."""
        if not self.distributed.is_main:
            self.distributed.send_to_main(logits)
            return
        if self.logits is None:
            self.logits = torch.empty((self.loader.num_images, *logits.shape[1:]))
        self._rows(step).copy_(logits)

    def receive_round(self, first: int) -> int:
        """In rank 0: fill in what the others have computed of the round that began with batch `first`.

        Returns:
            images of the round.
        """
        steps = range(first, min(first + self.distributed.size, len(self.loader)))
        if self.distributed.is_main:
            for source, step in enumerate(steps[1:], start=1):
                self.distributed.receive(self._rows(step), source)
        return sum(self.loader.images_of_step(step) for step in steps)

    def _rows(self, step: int) -> torch.Tensor:
        assert self.logits is not None, "rank 0 has the first batch of each round"
        begin = step * self.loader.batch_size
        return self.logits[begin : begin + self.loader.images_of_step(step)]

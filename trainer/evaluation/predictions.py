"""From a checkpoint to logits: each network runs once over a test split, everything after that is array arithmetic.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from base import BaseDataLoader, Batch
from data_loader.lost_workers import report_lost_workers
from model.experts import expert_logits_of
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.files.locks import only_writer
from utils.files.reading import regular_file
from utils.files.writing import write_bytes
from utils.reporting.progress import progress_bar

logger = logging.getLogger(__name__)


_LOGITS = "logits_"
_ARRAYS = f"{_LOGITS}*, skipped"


@dataclass(frozen=True)
class Predictions:
    """What a checkpoint's networks say of a test split.

    Args:
        logits: each expert's raw logits, float32, shape [N, E, C], by the name of the weights: "raw", "averaged".
        targets: labels, int64, shape [N].
        skipped: indices of images of the split that could not be read, and are not among the N.
    """

    logits: dict[str, np.ndarray]
    targets: np.ndarray
    skipped: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


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
    batches = watch(loader.epoch(0, first_step=distributed.rank, every=distributed.size))
    with progress_bar(title, loader.num_images, shown=distributed.is_main) as bar, report_lost_workers():
        for first in range(0, len(loader), distributed.size):
            batch = next(batches, None)  # the last round may have none for this process
            if batch is not None:
                images = batch.to(device).view("test")
                logits = expert_logits_of(model(images))
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


def stored_predictions(
    checkpoint: Path,
    digest: str,
    config: Mapping[str, Any],
    targets: np.ndarray,
    compute: Callable[[], Predictions | None],
    *,
    precision: str,
    split: str = "test",
    distributed: DistributedContext | None = None,
) -> Predictions | None:
    """The predictions stored beside a checkpoint; computed, and stored, where there are none yet. None but in rank 0.

    They are used again only for the very same checkpoint, network and data sections of `config`, precision, and test
    labels.

    Args:
        checkpoint: the checkpoint's file; the predictions lie in `<its stem>.predictions.npz`: an array
            `logits_<weights>` for each of its networks, their names in `weights`, and `targets`.
        digest: SHA-256 of the very bytes that its networks were read from.
        config: the run's configuration.
        targets: labels of the test split as it is now, int64, shape [N].
        compute: runs the checkpoint's networks; returns None but in rank 0.
        precision: name of the one that the networks run in.
        split: of the images: "test", or "validation", whose file is named so.
        distributed: the processes that run them; None: this one is alone.

    Raises:
        UserError: a network's logits are no finite numbers.
    """
    distributed = distributed or DistributedContext()
    suffix = "predictions" if split == "test" else f"{split}.predictions"
    path = checkpoint.with_name(f"{checkpoint.stem}.{suffix}.npz")
    fingerprint = _fingerprint(digest, config, targets, precision)
    stored = _read_predictions(path, fingerprint) if distributed.is_main else None
    if distributed.from_main(stored is not None):
        if stored is not None:
            logger.info("Using the predictions stored in %s: no need to run the network again.", path)
        return stored
    computed = compute()
    if computed is None:
        return None
    for weights, values in computed.logits.items():
        if not np.isfinite(values).all():
            network = "its network" if weights == "raw" else f"its network of {weights} weights"
            raise UserError(f"{checkpoint}: {network} gives logits that are no finite numbers: the training diverged")
    arrays: dict[str, Any] = {f"{_LOGITS}{weights}": values for weights, values in computed.logits.items()}
    arrays |= {"targets": computed.targets, "skipped": computed.skipped}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, weights=list(computed.logits), fingerprint=fingerprint, **arrays)
    try:
        with only_writer(path.parent, [path.name]):
            write_bytes(path, buffer.getvalue())
    except UserError as error:
        logger.warning("warning: predictions not kept: %s", error)
    return computed


def _fingerprint(digest: str, config: Mapping[str, Any], targets: np.ndarray, precision: str) -> str:
    """What stored predictions belong to: checkpoint, labels, network, data, precision, and the arrays' names."""
    described = json.dumps([config["arch"], config["data_loader"], precision, _ARRAYS], sort_keys=True)
    labels = hashlib.sha256(targets.astype("<i8").tobytes()).hexdigest()
    return hashlib.sha256((digest + labels + described).encode()).hexdigest()


def _read_predictions(path: Path, fingerprint: str) -> Predictions | None:
    """Predictions from a file; None where it is missing, damaged, or another network's."""
    if not path.exists():
        return None
    try:
        regular_file(path, "file of predictions")
        with path.open("rb") as file, np.load(file) as content:
            if str(content["fingerprint"]) == fingerprint:
                logits = {weights: content[f"{_LOGITS}{weights}"] for weights in content["weights"].tolist()}
                return Predictions(logits, content["targets"], content["skipped"])
    except UserError as error:
        logger.warning("warning: %s; the network runs again", error)
    except Exception as error:  # a damaged archive raises nearly anything
        logger.warning("%s: damaged (%s): the network runs again.", path, error)
    return None

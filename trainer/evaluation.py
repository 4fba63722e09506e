"""From a checkpoint to logits: the network runs once over a test split, everything after that is array arithmetic.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from base import BaseDataLoader
from data_loader.lost_workers import lost_workers_told
from model.experts import expert_logits_of
from utils.checkpoint import file_digest
from utils.errors import UserError
from utils.files import write_bytes
from utils.progress import progress_bar

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """What a network says of a test split.

    Args:
        logits: each expert's raw logits, float32, shape [N, E, C].
        targets: labels, int64, shape [N].
    """

    logits: np.ndarray
    targets: np.ndarray


@torch.inference_mode()
def predict(
    model: nn.Module,
    loader: BaseDataLoader,
    device: torch.device,
    *,
    title: str = "evaluation",
    between_batches: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over a loader's split, without augmentation and in file order.

    Args:
        model: see `model.experts.ExpertModel`; it is put into evaluation mode and back.
        loader: of the split to evaluate.
        device: where the model lies.
        title: of the progress bar.
        between_batches: called after each batch; what it raises ends the evaluation.

    Returns:
        logits float32 [N, E, C] and targets int64 [N].
    """
    was_training = model.training
    model.eval()
    logits, targets = [], []
    with progress_bar(title, loader.num_images) as bar, lost_workers_told():
        for batch in loader.epoch(0):
            images = loader.transform(batch.images.to(device, non_blocking=True), batch.keys)
            logits.append(expert_logits_of(model(images)).float().cpu())
            targets.append(batch.targets)
            bar.update(len(batch.targets))
            between_batches()
    model.train(was_training)
    return torch.cat(logits).numpy(), torch.cat(targets).numpy()


def stored_predictions(
    checkpoint: Path,
    config: Mapping[str, Any],
    targets: np.ndarray,
    compute: Callable[[], tuple[np.ndarray, np.ndarray]],
) -> Predictions:
    """The predictions kept beside a checkpoint; computed, and kept, where there are none yet.

    They are found again only for the very same checkpoint, network and data sections of `config`, and test labels.

    Args:
        checkpoint: the checkpoint's file; the predictions lie in `<its stem>.predictions.npz`.
        config: the run's configuration.
        targets: labels of the test split as it is now, int64, shape [N].
        compute: runs the network.

    Raises:
        UserError: the network's logits are no finite numbers.
    """
    path = checkpoint.with_name(f"{checkpoint.stem}.predictions.npz")
    described = json.dumps([config["arch"], config["data_loader"]], sort_keys=True)
    labels = hashlib.sha256(targets.astype("<i8").tobytes()).hexdigest()
    fingerprint = hashlib.sha256((file_digest(checkpoint) + labels + described).encode()).hexdigest()
    kept = _read_predictions(path, fingerprint)
    if kept is not None:
        logger.info("Using the predictions kept in %s: no need to run the network again.", path)
        return kept
    predictions = Predictions(*compute())
    if not np.isfinite(predictions.logits).all():
        raise UserError(f"{checkpoint}: its network gives logits that are no finite numbers: the training diverged")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, logits=predictions.logits, targets=predictions.targets, fingerprint=fingerprint)
    write_bytes(path, buffer.getvalue())
    return predictions


def _read_predictions(path: Path, fingerprint: str) -> Predictions | None:
    """Predictions from a file; None where it is missing, damaged, or another network's."""
    try:
        with path.open("rb") as file, np.load(file) as content:
            if str(content["fingerprint"]) == fingerprint:
                return Predictions(content["logits"], content["targets"])
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged archive raises nearly anything
        logger.warning("%s: damaged (%s): the network runs again.", path, error)
    return None

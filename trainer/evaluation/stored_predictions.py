"""The predictions of a checkpoint, stored beside it and used again as long as they are those of the same images."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation.predictions import Predictions
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.files.locks import only_writer
from utils.files.reading import regular_file
from utils.files.writing import write_bytes

_LOGITS = "logits_"
_ARRAYS = f"{_LOGITS}*, skipped"

logger = logging.getLogger(__name__)


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

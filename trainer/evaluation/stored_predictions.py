"""The predictions of a checkpoint, stored beside it and used again as long as they are those of the same images."""

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

from data_loader.datasets.contents import Contents
from trainer.evaluation.predictions import Predictions
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.files.locks import only_writer
from utils.files.reading import regular_file
from utils.files.writing import write_bytes

_LOGITS = "logits_"
_ARRAYS = f"{_LOGITS}*, skipped, contents, trained_on"

logger = logging.getLogger(__name__)


def stored_predictions(
    checkpoint: Path,
    digest: str,
    config: Mapping[str, Any],
    targets: np.ndarray,
    compute: Callable[[], Predictions | None],
    *,
    precision: str,
    contents: Contents | None,
    split: str = "test",
    distributed: DistributedContext | None = None,
) -> Predictions | None:
    """The predictions stored beside a checkpoint; computed, and stored, where there are none yet. None but in rank 0.

    They are used again only for the very same checkpoint, network and data sections of `config`, precision, test labels
    and images. Where only the times differ at which these were modified (a copy, a fresh checkout), all they hold
    decides; where that is too much to be read for it, the networks run again.

    Args:
        checkpoint: the checkpoint's file; the predictions lie in `<its stem>.predictions.npz`: an array
            `logits_<weights>` for each of its networks, their names in `weights`, `targets`, and what they belong to.
        digest: SHA-256 of the very bytes that its networks were read from.
        config: the run's configuration.
        targets: labels of the test split as it is now, int64, shape [N].
        compute: runs the checkpoint's networks; returns None but in rank 0.
        precision: name of the one that the networks run in.
        contents: what the images of the split hold now; None but in rank 0.
        split: of the images: "test", or "validation", whose file is named so.
        distributed: the processes that run them; None: this one is alone.

    Raises:
        UserError: a network's logits are no finite numbers.
    """
    distributed = distributed or DistributedContext()
    suffix = "predictions" if split == "test" else f"{split}.predictions"
    path = checkpoint.with_name(f"{checkpoint.stem}.{suffix}.npz")
    store = _Store(path, _fingerprint(digest, config, targets, precision), contents) if contents is not None else None
    stored = store.read() if store is not None else None
    if distributed.from_main(stored is not None):
        if stored is not None:
            logger.info("Using the predictions stored in %s: no need to run the network again.", path)
        return stored
    if contents is not None:
        _ = contents.whole  # before the networks read them: what changes meanwhile is then noticed afterwards
    computed = compute()
    if computed is None or store is None:
        return None
    for weights, values in computed.logits.items():
        if not np.isfinite(values).all():
            network = "its network" if weights == "raw" else f"its network of {weights} weights"
            raise UserError(f"{checkpoint}: {network} gives logits that are no finite numbers: the training diverged")
    store.write(computed)
    return computed


def _fingerprint(digest: str, config: Mapping[str, Any], targets: np.ndarray, precision: str) -> str:
    """What stored predictions belong to: checkpoint, labels, network, data, precision, and the arrays' names."""
    described = json.dumps([config["arch"], config["data_loader"], precision, _ARRAYS], sort_keys=True)
    labels = hashlib.sha256(targets.astype("<i8").tobytes()).hexdigest()
    return hashlib.sha256((digest + labels + described).encode()).hexdigest()


@dataclass(frozen=True)
class _Store:
    """A file of predictions, and what they must belong to.

    Args:
        path: the file.
        fingerprint: of everything but the images.
        contents: what the images hold now.
    """

    path: Path
    fingerprint: str
    contents: Contents

    def read(self) -> Predictions | None:
        """None where there are none, or they are damaged, another network's or of other images."""
        found = self._read_file() if self.path.exists() else None
        if found is None:
            return None
        predictions, (quick, times, whole) = found
        if quick == self.contents.quick and times == self.contents.times:
            return predictions
        if quick == self.contents.quick and whole and whole == self.contents.whole:
            self.write(predictions)  # with the times of now, by which the next evaluation will know
            return predictions
        logger.info("%s: is of other images than there are now: the network runs again.", self.path)
        return None

    def _read_file(self) -> tuple[Predictions, list[str]] | None:
        """The predictions of this network, and the digests of their images."""
        try:
            regular_file(self.path, "file of predictions")
            with self.path.open("rb") as file, np.load(file) as content:
                if str(content["fingerprint"]) == self.fingerprint:
                    logits = {weights: content[f"{_LOGITS}{weights}"] for weights in content["weights"].tolist()}
                    trained_on = content.get("trained_on")
                    predictions = Predictions(logits, content["targets"], content["skipped"], trained_on)
                    return predictions, [str(content["contents"][place]) for place in range(3)]
        except UserError as error:
            logger.warning("warning: %s; the network runs again", error)
        except Exception as error:  # a damaged archive raises nearly anything
            logger.warning("%s: damaged (%s): the network runs again.", self.path, error)
        return None

    def write(self, predictions: Predictions) -> None:
        """Whole or not at all; where it can't be, a warning says so."""
        arrays: dict[str, Any] = {f"{_LOGITS}{weights}": values for weights, values in predictions.logits.items()}
        arrays |= {"targets": predictions.targets, "skipped": predictions.skipped}
        if predictions.trained_on is not None:
            arrays["trained_on"] = predictions.trained_on
        arrays["contents"] = [self.contents.quick, self.contents.times, self.contents.whole]
        buffer = io.BytesIO()
        np.savez_compressed(buffer, weights=list(predictions.logits), fingerprint=self.fingerprint, **arrays)
        try:
            with only_writer(self.path.parent, [self.path.name]):
                write_bytes(self.path, buffer.getvalue())
        except UserError as error:
            logger.warning("warning: predictions not kept: %s", error)

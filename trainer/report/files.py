"""What lies in a run's folder, each file read by itself: one that is missing or damaged is a remark, and no more.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.calibration import top_confidences
from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.evaluation.result_files import RESULTS_JSON, read_results
from utils.errors import UserError, reason_of
from utils.files.checkpoint_names import checkpoints_of
from utils.files.reading import read_text_file, regular_file
from utils.row_blocks import row_blocks

_MOST_BYTES = 200_000_000
Curve = tuple[list[int], list[float]]


@dataclass(frozen=True, eq=False)
class KeptPredictions:
    """What the ensemble of the raw weights said of the test images, from the logits that an evaluation kept.

    Args:
        targets: labels, [N].
        skipped: indices in the split of images that could not be read; the N are the others.
        predicted: classes, [N].
        confidences: probability of the predicted class, [N].
        num_classes: C.
    """

    targets: NDArray[np.integer]
    skipped: NDArray[np.integer]
    predicted: NDArray[np.integer]
    confidences: NDArray[np.floating]
    num_classes: int

    @property
    def indices(self) -> NDArray[np.integer]:
        """Of the N in the split, [N]."""
        return np.delete(np.arange(len(self.targets) + len(self.skipped)), self.skipped)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which predictions are right, [N]."""
        return self.predicted == self.targets


@dataclass(frozen=True, eq=False)
class RunFiles:
    """What a run's folder says.

    Args:
        folder: of the run.
        config: its configuration; empty where it can't be read.
        processes: of `run.json`: commands, versions, devices.
        curves: name → epochs and values.
        rows: of the results.
        checkpoint: the one that the report is about: the one evaluated last, else the newest; None: there is none.
        predictions: of that one on the test split.
        missing: what is not there, or damaged, a sentence each.
    """

    folder: Path
    config: Mapping[str, Any]
    processes: Sequence[Mapping[str, Any]]
    curves: Mapping[str, Curve]
    rows: Sequence[Mapping[str, Any]]
    checkpoint: Path | None
    predictions: KeptPredictions | None
    missing: list[str] = field(default_factory=list)


def read_run(folder: Path) -> RunFiles:
    """Everything that a run's folder holds.

    Raises:
        UserError: it is no folder, or no run's: it holds neither a configuration nor results.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if not any((folder / name).exists() for name in ("config.json", RESULTS_JSON)):
        raise UserError(f"{folder}: is no run's folder: it holds neither config.json nor {RESULTS_JSON}")
    missing: list[str] = []
    config = _json(folder / "config.json", "configuration", missing)
    processes = _json(folder / "run.json", "record of the run", missing).get("processes")
    rows = _rows(folder, missing)
    checkpoint = _evaluated(folder, rows)
    curves = _curves(folder, missing)
    predictions = None if checkpoint is None else _predictions(checkpoint, missing)
    recorded = [process for process in processes if isinstance(process, dict)] if isinstance(processes, list) else []
    return RunFiles(folder, config, recorded, curves, rows, checkpoint, predictions, missing)


def _json(path: Path, what: str, missing: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(read_text_file(path, what, most_bytes=_MOST_BYTES))
    except UserError:
        missing.append(f"There is no {path.name} that can be read.")
        return {}
    except (ValueError, RecursionError):
        missing.append(f"{path.name} is damaged.")
        return {}
    return content if isinstance(content, dict) else {}


def _rows(folder: Path, missing: list[str]) -> list[dict[str, Any]]:
    try:
        rows = read_results(folder / RESULTS_JSON)
    except UserError:
        rows = None
    if rows is None:
        there = (folder / RESULTS_JSON).exists()
        missing.append(f"{RESULTS_JSON} is damaged." if there else "Not tested yet: python test.py -r CHECKPOINT.")
    return [row for row in rows or [] if isinstance(row.get("accuracy"), float) and row.get("weights") == "raw"]


def _evaluated(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path | None:
    named = [folder / str(row.get("checkpoint")) for row in reversed(rows)]
    return next(iter([*named, *checkpoints_of(folder), *folder.glob("model_best.pth")]), None)


def _curves(folder: Path, missing: list[str]) -> dict[str, Curve]:
    """TensorBoard's scalars; of an epoch that was trained twice, the later values."""
    from tensorboard.backend.event_processing.event_file_loader import (  # noqa: PLC0415 - takes a second
        EventFileLoader,
    )

    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        try:
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.HasField("tensor") and value.tensor.float_val:
                        found.setdefault(value.tag, {})[event.step] = value.tensor.float_val[0]
        except Exception as error:  # a damaged file raises nearly anything
            missing.append(f"{path.name} can't be read: {reason_of(error)}.")
    if not found:
        missing.append("There are no training curves: TensorBoard's events are missing.")
    return {name: (sorted(values), [values[epoch] for epoch in sorted(values)]) for name, values in found.items()}


def _predictions(checkpoint: Path, missing: list[str]) -> KeptPredictions | None:
    path = checkpoint.with_name(f"{checkpoint.stem}.predictions.npz")
    try:
        regular_file(path, "file of predictions")
        with path.open("rb") as file, np.load(file) as content:
            return _reduced(content["logits_raw"], content["targets"], content["skipped"])
    except UserError:
        missing.append(f"There are no kept predictions ({path.name}): no reliability, no pairs, no mistakes.")
    except Exception:  # a damaged archive raises nearly anything
        missing.append(f"{path.name} is damaged: no reliability, no pairs, no mistakes.")
    return None


def _reduced(
    logits: NDArray[np.floating], targets: NDArray[np.integer], skipped: NDArray[np.integer]
) -> KeptPredictions:
    """Logits [N, E, C] to a class and a confidence an image, by blocks: with many classes they are gigabytes."""
    if logits.ndim != 3 or len(logits) != len(targets):
        raise ValueError("shape")
    predicted, confidences = np.empty(len(targets), np.int64), np.empty(len(targets))
    for block in row_blocks(len(targets), logits[:1].size):
        ensemble = mean_of_experts(logits[block])
        predicted[block], confidences[block] = ensemble.argmax(axis=1), top_confidences(ensemble)
    return KeptPredictions(targets, skipped, predicted, confidences, logits.shape[2])

"""What prediction sets are made of, kept in a file beside the checkpoint: `<stem>.sets.json`.

    stored = stored_sets(checkpoint, digest)
    sets = stored.of("raw").sets(alpha=0.1)  # or target_prior=…: another class prior needs no data either
    members = sets.of(probabilities)  # [N, C], of the ensemble as it is

`M` held-out images, `C` classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.prediction_sets import SCORES, LabelScores
from utils.config.json_files import UnreadableJsonError, parse_json
from utils.errors import UserError
from utils.files.reading import read_text_file
from utils.files.writing import write_text

_FORMAT = "prediction sets 1"
_MOST_BYTES = 1_000_000_000  # a score takes 20, and a million images are held out where there are ten


@dataclass(frozen=True, eq=False)
class StoredSets:
    """What was fitted to one checkpoint: scores of the right classes of labelled images that nothing else had seen.

    Args:
        checkpoint: name of its file.
        digest: SHA-256 of that.
        fitted_on: what the scores are of, in words.
        by_weights: of the ensemble of each kind of weights: "raw", "averaged".
        source: where it was read from, for messages.
    """

    checkpoint: str
    digest: str
    fitted_on: str
    by_weights: Mapping[str, LabelScores]
    source: str = "the prediction sets"

    def of(self, weights: str) -> LabelScores:
        """The scores under one kind of weights.

        Raises:
            UserError: it has none of these weights.
        """
        if weights not in self.by_weights:
            raise UserError(f"{self.source}: was not fitted to the {weights} weights")
        return self.by_weights[weights]


def sets_path(checkpoint: Path) -> Path:
    """Where a checkpoint's prediction sets lie."""
    return checkpoint.with_name(f"{checkpoint.stem}.sets.json")


def how_to_make(checkpoint: Path) -> str:
    """The command that fits and stores them."""
    return f"python -m tools.prediction_sets {checkpoint}"


def stored_sets(checkpoint: Path, digest: str, num_classes: int) -> StoredSets:
    """The prediction sets beside a checkpoint.

    Args:
        checkpoint: its file.
        digest: SHA-256 of it, which they have to be of.
        num_classes: C.

    Raises:
        UserError: in one line: there are none, with the command that makes them; they are unreadable, of another
            checkpoint, or no prediction sets.
    """
    path, make = sets_path(checkpoint), how_to_make(checkpoint)
    text = read_text_file(path, "prediction sets", most_bytes=_MOST_BYTES, if_missing=f"; make it: {make}")
    try:
        content = parse_json(text)
    except (json.JSONDecodeError, UnreadableJsonError) as error:
        raise UserError(f"{path}: can't be read as prediction sets: {error}; make it anew: {make}") from None
    try:
        stored = _from_json(content, num_classes, str(path))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise UserError(
            f"{path}: holds no prediction sets of {num_classes} classes as tools.prediction_sets writes it; "
            f"make it anew: {make}"
        ) from None
    if stored.digest != digest:
        raise UserError(f"{path}: was fitted to another checkpoint than {checkpoint.name} is now; make it anew: {make}")
    return stored


def write_sets(path: Path, stored: StoredSets) -> None:
    """Write a file that `stored_sets` reads to the last digit, atomically.

    Raises:
        UserError: the folder can't be written to; an earlier file is untouched.
    """
    write_text(path, json.dumps(_as_json(stored), ensure_ascii=False, allow_nan=False) + "\n")


def _as_json(stored: StoredSets) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "checkpoint": stored.checkpoint,
        "checkpoint_sha256": stored.digest,
        "fitted_on": stored.fitted_on,
        "weights": {
            weights: {
                "score": scores.score,
                "home_prior": scores.home_prior.tolist(),
                "held_out_prior": scores.held_out_prior.tolist(),
                "labels": scores.labels.tolist(),
                "label_scores": scores.label_scores.tolist(),
            }
            for weights, scores in stored.by_weights.items()
        },
    }


def _from_json(content: Any, num_classes: int, source: str) -> StoredSets:
    if content["format"] != _FORMAT:
        raise ValueError(content["format"])
    checkpoint, digest, fitted_on = (content[name] for name in ("checkpoint", "checkpoint_sha256", "fitted_on"))
    by_weights = {str(weights): _scores(ours, num_classes) for weights, ours in content["weights"].items()}
    if not by_weights or not all(isinstance(word, str) for word in (checkpoint, digest, fitted_on)):
        raise ValueError("words")
    return StoredSets(checkpoint, digest, fitted_on, by_weights, source)


def _scores(content: Any, num_classes: int) -> LabelScores:
    scores, home, held_out = (
        np.asarray(content[name], np.float64) for name in ("label_scores", "home_prior", "held_out_prior")
    )
    labels = np.asarray(content["labels"])
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind != "i" or scores.shape != labels.shape:
        raise ValueError("labels")
    if labels.min() < 0 or labels.max() >= num_classes or not np.isfinite(scores).all():
        raise ValueError("scores")
    for prior in (home, held_out):
        if prior.shape != (num_classes,) or not (np.isfinite(prior).all() and prior.min() >= 0 and prior.sum() > 0):
            raise ValueError("prior")
    if content["score"] not in SCORES or not held_out[labels].all():
        raise ValueError("score")
    return LabelScores(scores, labels.astype(np.intp), content["score"], home, held_out)

"""What prediction sets are made of, kept in a file beside the checkpoint: `<stem>.sets.json`.

    stored = stored_sets(checkpoint, digest)
    sets = stored.of("raw").sets(alpha=0.1)  # or target_prior=…: another class prior needs no data either
    members = sets.of(probabilities)  # [N, C], of the ensemble as it is

`M` held-out images, `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.prediction_sets import SCORES, LabelScores
from trainer.evaluation.fitted_files import Fitted, FittedFile, origin_from_json
from utils.errors import UserError


@dataclass(frozen=True, eq=False)
class StoredSets(Fitted):
    """Scores of one checkpoint for the right classes of labelled images that nothing else had seen.

    Args:
        checkpoint, digest, fitted_on: see `Fitted`.
        by_weights: of the ensemble of each kind of weights: "raw", "averaged".
        source: where it was read from, for messages.
    """

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


def stored_sets(checkpoint: Path, digest: str, num_classes: int) -> StoredSets:
    """The prediction sets beside a checkpoint.

    Args:
        checkpoint: its file.
        digest: SHA-256 of it, which they have to be of.
        num_classes: C.

    Raises:
        UserError: in one line, with the command that makes them: there are none, they are unreadable, of another
            checkpoint or of other classes, or no prediction sets.
    """
    stored = SETS_FILE.of_checkpoint(checkpoint, digest)
    if any(scores.home_prior.size != num_classes for scores in stored.by_weights.values()):
        raise UserError(
            f"{stored.source}: holds no prediction sets of {num_classes} classes; "
            f"make it anew: {SETS_FILE.command(checkpoint)}"
        )
    return stored


def _as_json(stored: StoredSets) -> dict[str, Any]:
    return {
        **stored.origin_as_json(),
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


def _from_json(content: Any, source: str) -> StoredSets:
    by_weights = {str(weights): _scores(ours) for weights, ours in content["weights"].items()}
    if not by_weights:
        raise ValueError("weights")
    return StoredSets(*origin_from_json(content), by_weights, source)


def _scores(content: Any) -> LabelScores:
    scores, home, held_out = (
        np.asarray(content[name], np.float64) for name in ("label_scores", "home_prior", "held_out_prior")
    )
    labels = np.asarray(content["labels"])
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind != "i" or scores.shape != labels.shape:
        raise ValueError("labels")
    if labels.min() < 0 or labels.max() >= home.size or not np.isfinite(scores).all():
        raise ValueError("scores")
    for prior in (home, held_out):
        if prior.shape != (home.size,) or not (np.isfinite(prior).all() and prior.min() >= 0 and prior.sum() > 0):
            raise ValueError("prior")
    if content["score"] not in SCORES or not held_out[labels].all():
        raise ValueError("score")
    return LabelScores(scores, labels.astype(np.intp), content["score"], home, held_out)


SETS_FILE = FittedFile(
    kind="prediction sets",
    described="prediction sets",
    suffix="sets",
    tool="tools.prediction_sets",
    most_bytes=1_000_000_000,  # a score takes 20, and a million images are held out where there are ten
    as_json=_as_json,
    from_json=_from_json,
)

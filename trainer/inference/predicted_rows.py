"""Predictions as rows of a table, and the files that they are written to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.inference.answers import Answers
from utils.errors import UserError
from utils.files.writing import csv_text, write_bytes, write_text

_ENDINGS = (".csv", ".json", ".parquet")


def as_rows(
    answers: Answers, *, topk: int, reject_below: float | None, sets: NDArray[np.bool_] | None = None
) -> list[dict[str, object]]:
    """An answer a row: file, class, probability, rejected, entropy, prediction set, further classes, experts' votes.

    Args:
        answers: of the network.
        topk: classes to name, at most C.
        reject_below: probability below which no class is given ("rejected"); None: every image has one.
        sets: whether each class is in each image's prediction set, [N, C]; None: there are none.
    """
    ranking = np.argsort(-answers.probabilities, axis=1, kind="stable")
    best = ranking[:, :topk]
    votes = answers.expert_probabilities.argmax(axis=2)  # [N, E]
    rows = []
    for image, (file, entropy) in enumerate(zip(answers.files, answers.entropies, strict=True)):
        ranked = [(answers.class_names[label], float(answers.probabilities[image, label])) for label in best[image]]
        row: dict[str, object] = {"image": file, "class": ranked[0][0], "probability": ranked[0][1]}
        if reject_below is not None:
            row["rejected"] = ranked[0][1] < reject_below
        row["entropy"] = float(entropy)
        if sets is not None:
            members = [answers.class_names[label] for label in ranking[image] if sets[image, label]]
            row |= {"set size": len(members), "set": members}
        for place, (name, probability) in enumerate(ranked[1:], start=2):
            row |= {f"class {place}": name, f"probability {place}": probability}
        if votes.shape[1] > 1:
            row |= {f"expert {expert}": answers.class_names[label] for expert, label in enumerate(votes[image])}
        rows.append(row)
    return rows


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """As .csv, .json or .parquet, by the path's ending; the classes of a set are a list, in .csv joined by "; ".

    Raises:
        UserError: another ending, or pandas has no engine for Parquet.
    """
    check_ending(path)
    ending = path.suffix.lower()
    if ending == ".json":
        write_text(path, json.dumps({"predictions": list(rows)}, indent=1, ensure_ascii=False) + "\n")
    elif ending == ".csv":
        columns = list(dict.fromkeys(name for row in rows for name in row))
        write_text(path, csv_text(columns, ([joined(row.get(name)) for name in columns] for row in rows)))
    else:
        import pandas as pd  # noqa: PLC0415 - half a second

        write_bytes(path, pd.DataFrame(rows).to_parquet(None, index=False))


def joined(value: object) -> object:
    """A list as one text, anything else as it is."""
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def check_ending(path: Path) -> None:
    """A UserError where no table can be written there."""
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise UserError(f"--out {path}: give a file that ends with {', '.join(_ENDINGS)}")
    if ending == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(f"--out {path}: pandas writes Parquet with the package pyarrow, which is not installed")

"""Results of a run: one list of rows, as `results.json` and `results.csv` beside its checkpoints."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from utils.files.writing import write_text
from utils.reporting.tables import NOTHING, percent, table

RESULTS_JSON, RESULTS_CSV = "results.json", "results.csv"
_EVALUATION = ("checkpoint", "protocol", "prior")
_KEY = (*_EVALUATION, "distribution", "predictor")
_SHIFT = re.compile(r"(forward|backward)(\d+)")
_SCORES = ("top1", "balanced", "many", "medium", "few", "ece", "mce", "nll")
_TITLES = {"top1": "top-1", "balanced": "balanced", "many": "many", "medium": "medium", "few": "few", "ece": "ECE"}


def result_row(
    scores: Mapping[str, Any],
    *,
    checkpoint: Path,
    protocol: str,
    prior: str,
    distribution: str,
    predictor: str,
    images: int,
) -> dict[str, Any]:
    """One line of the results.

    Args:
        scores: of `trainer.evaluation.distributions.evaluate`.
        checkpoint: whose network it is.
        protocol: "test" or "shifts".
        prior: "none", or "known" where log π_test was added to the logits.
        distribution: "uniform", "forward50", …
        predictor: "ensemble", or "expert 0", …
        images: how many the distribution holds.
    """
    row = {
        "checkpoint": checkpoint.name,
        "protocol": protocol,
        "prior": prior,
        "distribution": distribution,
        "predictor": predictor,
        "images": images,
    }
    plain = {name: scores[name] for name in (*_SCORES, "per_class")}
    return {**row, **{name: _without_nan(value) for name, value in plain.items()}}


def write_results(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Enter rows into a run's results; one for the same question is replaced.

    The question is checkpoint, protocol, prior, distribution and predictor. Rows of one evaluation stand together,
    from forward50 over uniform to backward50.

    Returns:
        the files written: JSON (everything), CSV (everything but the accuracies by class).
    """
    path = folder / RESULTS_JSON
    fresh = {_names(row, _KEY) for row in rows}
    kept = [row for row in _read_results(path) if _names(row, _KEY) not in fresh]
    everything = _in_order([*kept, *rows])
    write_text(path, json.dumps({"results": everything}, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    frame = pd.DataFrame([{name: value for name, value in row.items() if name != "per_class"} for row in everything])
    write_text(folder / RESULTS_CSV, frame.to_csv(index=False, lineterminator="\n"))
    return [path, folder / RESULTS_CSV]


def results_table(rows: Sequence[Mapping[str, Any]], *, first: str) -> str:
    """Rows as an aligned table in percent; `first` names the column that tells them apart."""
    header = [first, "images", *(f"{title} %" for title in _TITLES.values())]
    return table(header, [[row[first], str(row["images"]), *(percent(row[name]) for name in _TITLES)] for row in rows])


def class_table(row: Mapping[str, Any], class_names: Sequence[str], class_counts: Sequence[int]) -> str:
    """A row's accuracy by class, with each class's number of training images."""
    lines = [
        [name, str(count), percent(accuracy)]
        for name, count, accuracy in zip(class_names, class_counts, row["per_class"], strict=True)
    ]
    return table(["class", "training images", "accuracy %"], lines) if lines else NOTHING


def _read_results(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier evaluation; none where there is no file or it is not ours."""
    try:
        content = json.loads(path.read_text(encoding="utf8"), parse_constant=lambda _: None)  # NaN and its like
        return [row for row in content["results"] if isinstance(row, dict)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _in_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Evaluations in the order of their first rows; within one by distribution, and else as they come."""
    first = {_names(row, _EVALUATION): place for place, row in reversed(list(enumerate(rows)))}
    return sorted(rows, key=lambda row: (first[_names(row, _EVALUATION)], _shift(str(row.get("distribution")))))


def _names(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in names)


def _shift(distribution: str) -> float:
    """Where a distribution stands between forward and backward: −50 for "forward50", 0 for "uniform"; others last."""
    found = _SHIFT.fullmatch(distribution)
    if found is None:
        return 0 if distribution == "uniform" else math.inf
    return int(found[2]) * (-1 if found[1] == "forward" else 1)


def _without_nan(value: Any) -> Any:
    """NaN, the score of an empty group, becomes null."""
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

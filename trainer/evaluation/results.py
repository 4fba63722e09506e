"""Results of a run: one list of rows, as `results.json` and `results.csv` beside its checkpoints."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from model.metrics import METRICS
from utils.files.writing import write_text
from utils.reporting.tables import decimal, percent, table

RESULTS_JSON, RESULTS_CSV = "results.json", "results.csv"
RAW = "raw"
_EVALUATION = ("checkpoint", "protocol", "weights", "prior")
_KEY = (*_EVALUATION, "distribution", "predictor")
_PER_CLASS = "per_class"
_SHIFT = re.compile(r"(forward|backward)(\d+(?:\.\d+)?)")
_FORMER_NAMES = {"top1": "accuracy", "balanced": "balanced_accuracy"}


def result_row(scores: Mapping[str, Any], *, checkpoint: Path, protocol: str, weights: str) -> dict[str, Any]:
    """One line of the results: what was evaluated, and the scores, nan as null.

    Args:
        scores: one of `trainer.evaluation.protocol.evaluate`.
        checkpoint: whose network it is.
        protocol: "test" or "shifts".
        weights: "raw", or "averaged" where a checkpoint holds averaged weights besides.
    """
    question = {"checkpoint": checkpoint.name, "protocol": protocol, "weights": weights}
    return {**question, **{name: _without_nan(value) for name, value in scores.items()}}


def write_results(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Enter rows into a run's results; one for the same question is replaced.

    The question is checkpoint, protocol, weights, prior, distribution and predictor. Rows of one evaluation stand
    together, from forward50 over uniform to backward50.

    Returns:
        the files written: JSON (everything), CSV (the same rows without the accuracies by class).
    """
    path = folder / RESULTS_JSON
    replaced = {_values(row, _KEY) for row in rows}
    earlier = [row for row in _read_results(path) if _values(row, _KEY) not in replaced]
    everything = _in_order([*earlier, *rows])
    write_text(path, json.dumps({"results": everything}, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    columns = dict.fromkeys(
        [*_KEY, "home", "selection", "images", *METRICS]
    )  # before those that only earlier rows have
    columns |= dict.fromkeys(name for row in everything for name in row if name != _PER_CLASS)
    text = pd.DataFrame(everything, columns=list(columns)).to_csv(index=False, lineterminator="\n")
    write_text(folder / RESULTS_CSV, text)
    return [path, folder / RESULTS_CSV]


def results_table(rows: Sequence[Mapping[str, Any]], *, first: str) -> str:
    """Rows as an aligned table; `first` names the column that tells them apart.

    Another column tells of which weights a row is, where there are more than the raw ones.
    """
    named = [first, "weights"] if {row["weights"] for row in rows} != {RAW} else [first]
    shown = {name: metric for name, metric in METRICS.items() if metric.in_table}
    header = [*named, "images", *(f"{metric.title} %" if metric.percent else metric.title for metric in shown.values())]
    return table(
        header,
        [
            [
                *(str(row[name]) for name in (*named, "images")),
                *((percent if metric.percent else decimal)(row[name]) for name, metric in shown.items()),
            ]
            for row in rows
        ],
    )


def class_table(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str], class_counts: Sequence[int]) -> str:
    """Accuracy by class, a column for each row (each of other weights), with each class's training images."""
    titles = ["accuracy %"] if len(rows) == 1 else [f"{row['weights']} %" for row in rows]
    lines = [
        [name, str(count), *(percent(row[_PER_CLASS][index]) for row in rows)]
        for index, (name, count) in enumerate(zip(class_names, class_counts, strict=True))
    ]
    return table(["class", "training images", *titles], lines)


def _read_results(path: Path) -> list[dict[str, Any]]:
    """The rows of earlier evaluations, those of earlier versions under today's names; none where there is no file or
    it is not ours.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"), parse_constant=lambda _: None)  # NaN and its like
        rows = [row for row in content["results"] if isinstance(row, dict)]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [_as_today(row) for row in rows]


def _as_today(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that an earlier version wrote, under today's names: it knew one kind of weights, and one correction."""
    renamed = {"weights": RAW} | {_FORMER_NAMES.get(name, name): value for name, value in row.items()}
    if "home" not in renamed and renamed.get("prior") == "known":
        renamed["prior"] = "posthoc"
    return renamed


def _in_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Evaluations in the order of their first rows; within one by distribution, and else as they come."""
    first = {_values(row, _EVALUATION): place for place, row in reversed(list(enumerate(rows)))}
    return sorted(rows, key=lambda row: (first[_values(row, _EVALUATION)], _shift(str(row.get("distribution")))))


def _values(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in names)


def _shift(distribution: str) -> float:
    """Where a distribution stands between forward and backward: −50 for "forward50", 0 for "uniform"; others last."""
    match = _SHIFT.fullmatch(distribution)
    if match is None:
        return 0 if distribution == "uniform" else math.inf
    return float(match[2]) * (-1 if match[1] == "forward" else 1)


def _without_nan(value: Any) -> Any:
    """NaN, the score of an empty group, becomes null."""
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

"""Results of a run as rows and as tables; they are kept by `trainer.evaluation.result_files`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.metrics import METRICS, Metric
from utils.reporting.tables import NOTHING, decimal, percent, table

RAW = "raw"
PER_CLASS = "per_class"
MOST_CLASSES_SHOWN = 20
_OF_ESTIMATES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "prior_l1": ("prior L1", decimal),
    "prior_spread": ("± L1", decimal),
    "prior_in_words": ("estimate", str),
}
_WITH_INTERVALS = ("accuracy", "ece")  # in tables
_OF_GROUPS = ("accuracy", "ece", "nll")  # likewise


def result_row(
    scores: Mapping[str, Any], *, checkpoint: Path, protocol: str, weights: str, data: str = ""
) -> dict[str, Any]:
    """One line of the results: what was evaluated, and the scores, nan as null.

    Args:
        scores: one of `trainer.evaluation.protocol.evaluate`.
        checkpoint: whose network it is.
        protocol: "test" or "shifts".
        weights: "raw", or "averaged" where a checkpoint holds averaged weights besides.
        data: what the test images are called, see `trainer.evaluation.tested_data`; empty: nothing, and no column.
    """
    question = {"checkpoint": checkpoint.name, "protocol": protocol, "weights": weights}
    question |= {"data": data} if data else {}
    return {**question, **{name: _without_nan(value) for name, value in scores.items()}}


def results_table(rows: Sequence[Mapping[str, Any]], *, first: str) -> str:
    """Rows as an aligned table; `first` names the column that tells them apart.

    Another column tells of which weights a row is, where there are more than the raw ones. Calibrated rows have their
    ECE without the calibration in another. Of an estimated test prior: how far it is from the true one, how far another
    draw of the images might be from it, and how it came about. Images that were trained on are counted where there are
    some. Top-1 and ECE have their intervals where the rows do.
    """
    named = [first, "weights"] if {row["weights"] for row in rows} != {RAW} else [first]
    shown = {name: metric for name, metric in METRICS.items() if metric.in_table}
    estimated = {name: column for name, column in _OF_ESTIMATES.items() if any(row.get(name) for row in rows)}
    header = [*named, "images", *(f"{metric.title} %" if metric.percent else metric.title for metric in shown.values())]
    calibrated = ["ece_before"] if any("ece_before" in row for row in rows) else []
    header += ["ECE before %" for _ in calibrated]
    header += [title for title, _ in estimated.values()]
    trained = ["trained_on"] if any(row.get("trained_on") for row in rows) else []
    header += ["trained on" for _ in trained]
    return table(
        header,
        [
            [
                *(str(row[name]) for name in (*named, "images")),
                *(_cell(row, name, metric) for name, metric in shown.items()),
                *(percent(row.get(name)) for name in calibrated),
                *(shown_as(row.get(name)) for name, (_, shown_as) in estimated.items()),
                *(str(row[name]) for name in trained),
            ]
            for row in rows
        ],
    )


def test_report(
    rows: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    class_counts: Sequence[int] | None,
    test_counts: Sequence[int] | np.ndarray,
) -> str:
    """The tables of one test set: every class, where they are few, every group, where the training counts are known,
    then every predictor; arguments of `class_table`.
    """
    ensembles = [row for row in rows if row["predictor"] == "ensemble"]
    tables = [results_table(rows, first="predictor")]
    if any("groups" in row for row in ensembles):
        tables.insert(0, group_table(ensembles))
    if len(class_names) <= MOST_CLASSES_SHOWN:
        tables.insert(0, class_table(ensembles, class_names, class_counts, test_counts))
    return "\n\n".join(tables)


def group_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The images of classes with many, medium and few training images, for each row (each of other weights)."""
    weights = [] if {row["weights"] for row in rows} == {RAW} else ["weights"]
    metrics = {name: METRICS[name] for name in _OF_GROUPS}
    lines = [
        [
            group,
            *(str(row[name]) for name in weights),
            *(str(found[name]) for name in ("classes", "images")),
            *(_cell(found, name, metric) for name, metric in metrics.items()),
        ]
        for row in rows
        for group, found in row.get("groups", {}).items()
    ]
    titles = [f"{metric.title} %" if metric.percent else metric.title for metric in metrics.values()]
    return table(["group", *weights, "classes", "test images", *titles], lines)


def class_table(
    rows: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    class_counts: Sequence[int] | None,
    test_counts: Sequence[int] | np.ndarray,
) -> str:
    """Accuracy by class, a column for each row (each of other weights), with the images that each class has.

    Training images that are not known (None) are "–".
    """
    trained = [NOTHING] * len(class_names) if class_counts is None else class_counts
    titles = ["accuracy %"] if len(rows) == 1 else [f"{row['weights']} %" for row in rows]
    lines = [
        [name, str(before), str(tested), *(percent(row[PER_CLASS][index]) for row in rows)]
        for index, (name, before, tested) in enumerate(zip(class_names, trained, test_counts, strict=True))
    ]
    return table(["class", "training images", "test images", *titles], lines)


def _cell(row: Mapping[str, Any], name: str, metric: Metric) -> str:
    """A metric's value, with its interval behind it where the row has one and tables show it."""
    show = percent if metric.percent else decimal
    ends = row.get("intervals", {}).get(name) if name in _WITH_INTERVALS else None
    return show(row[name]) + (f" [{show(ends[0])}, {show(ends[1])}]" if ends else "")


def _without_nan(value: Any) -> Any:
    """NaN, the score of an empty group, becomes null."""
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value

"""Results of a run: one list of rows, as `results.json` and, derived from it, `results.csv` beside its checkpoints."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.metrics import METRICS
from trainer.evaluation.results import RAW
from utils.errors import UserError
from utils.files.locks import only_writer
from utils.files.reading import read_regular_file
from utils.files.writing import csv_text, encoded, write_text

RESULTS_JSON, RESULTS_CSV = "results.json", "results.csv"
_NAMES = (RESULTS_JSON, RESULTS_CSV)
_EVALUATION = ("checkpoint", "data", "protocol", "weights", "prior", "calibration")
_KEY = (*_EVALUATION, "distribution", "predictor")
_SHIFT = re.compile(r"(forward|backward)(\d+(?:\.\d+)?)")
_FORMER_NAMES = {"top1": "accuracy", "balanced": "balanced_accuracy"}

logger = logging.getLogger(__name__)


def write_results(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Enter rows into a run's results; one for the same question is replaced.

    The question is checkpoint, data (rows of earlier versions name none, and are kept), protocol, weights, prior,
    calibration, distribution and predictor. Rows of one evaluation stand together, from forward50 over uniform to
    backward50. Evaluations that end at the same time wait for one another. A file in the way that holds no results is
    renamed.

    Returns:
        the files written: JSON (everything), CSV (the same rows without what has several numbers). Without the second
        a warning has said why.

    Raises:
        UserError: the folder can't be written to, or something that is no file is in the way of the first.
    """
    path = folder / RESULTS_JSON
    replaced = {_values(row, _KEY) for row in rows}
    with only_writer(folder, _NAMES):
        earlier = read_results(path)
        if earlier is None and path.exists():
            aside = _unused_name(path)
            path.rename(aside)
            logger.warning("warning: %s: holds no results of ours; renamed to %s", path, aside.name)
        everything = _in_order([*(row for row in earlier or [] if _values(row, _KEY) not in replaced), *rows])
        write_text(path, json.dumps({"results": everything}, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        try:
            write_text(folder / RESULTS_CSV, _as_csv(everything))
        except UserError as error:
            logger.warning("warning: %s; the next evaluation derives it again", error)
            return [path]
    return [path, folder / RESULTS_CSV]


def repair_results(folder: Path) -> None:
    """After an evaluation was killed between its two files: derive the CSV from the JSON again, remove what is half.

    A folder without results, or one that can't be written to, is left as it is.
    """
    if not (folder / RESULTS_JSON).is_file():
        return
    with suppress(UserError), only_writer(folder, _NAMES):
        rows = read_results(folder / RESULTS_JSON)
        if rows and _bytes_of(folder / RESULTS_CSV) != encoded(text := _as_csv(rows)):
            write_text(folder / RESULTS_CSV, text)


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    ours = [*_KEY, "home", "selection", "images", *METRICS]  # before columns that only other rows have
    columns = dict.fromkeys([*ours, *(name for row in rows for name in row if not isinstance(row[name], list | dict))])
    return csv_text(list(columns), ([row.get(name) for name in columns] for row in rows))


def read_results(path: Path) -> list[dict[str, Any]] | None:
    """The rows of earlier evaluations, those of earlier versions under today's names; None where there are none.

    Raises:
        UserError: what is at the path is no regular file.
    """
    if not path.exists():
        return None
    try:
        text = read_regular_file(path, "file of results").decode()
        content = json.loads(text, parse_constant=lambda _: None)  # NaN and its like
        rows = [row for row in content["results"] if isinstance(row, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return [_as_today(row) for row in rows]


def _as_today(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that an earlier version wrote, under today's names.

    It knew one kind of weights, one correction and no calibration.
    """
    renamed = {"weights": RAW, "calibration": "none"} | {
        _FORMER_NAMES.get(name, name): value for name, value in row.items()
    }
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
    """Where a distribution stands between forward and backward: −50 for "forward50", 0 for "uniform"; others last.

    The split as it is comes first.
    """
    match = _SHIFT.match(distribution)  # of a row with two names the first
    if distribution.startswith("as split"):
        return -math.inf
    if match is None:
        return 0 if distribution == "uniform" else math.inf
    return float(match[2]) * (-1 if match[1] == "forward" else 1)


def _unused_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.{number}") for number in range(1, 1_000_000))
    return next(name for name in names if not name.exists())


def _bytes_of(path: Path) -> bytes:
    return read_regular_file(path, "file of results") if path.exists() else b""

"""What there is of runs, from the small files in their folders and the names of their checkpoints; without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from utils.config.json_files import read_json
from utils.errors import UserError, nearest, printable, reason_of
from utils.files.checkpoint_names import checkpoint_position, checkpoints_of
from utils.files.reading import read_text_file
from utils.reporting.tables import NOTHING, percent, table

_MOST_BYTES = 100_000_000
_FROM_THE_HIGHEST = ("date", "epochs", "best", "last")


@dataclass
class Listed:
    """A run in a list; None: unknown.

    Args:
        name: in its configuration.
        date: when its first process started, as "2026-11-26 15:59".
        seed: of its configuration.
        method: its method where it names one, its loss, and how many experts.
        data: its loader, and the imbalance that it makes.
        epochs: completed, by the names of its checkpoints.
        of_epochs: that were asked for.
        best: highest accuracy of the ensemble on the test split, without a prior and without calibration, of all
            checkpoints and weights that were tested.
        last: that of the latest of these checkpoints.
        path: its folder.
        problems: what is missing or damaged.
    """

    path: Path
    name: str | None = None
    date: str | None = None
    seed: int | None = None
    method: str | None = None
    data: str | None = None
    epochs: int | None = None
    of_epochs: int | None = None
    best: float | None = None
    last: float | None = None
    problems: list[str] = field(default_factory=list)


COLUMNS = [
    *(one.name for one in fields(Listed) if one.name not in ("path", "of_epochs", "problems")),
    "path",
    "problems",
]


def listed(folder: Path) -> Listed:
    """A run by its folder; whatever is damaged is said in `problems`."""
    run = Listed(folder)
    for read in (_read_config, _read_process, _read_results):
        try:
            read(run)
        except UserError as error:
            run.problems.append(str(error).removeprefix(f"{folder}/"))
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            what = {_read_config: "config.json", _read_process: "run.json"}.get(read, "results.json")
            lacks = "it lacks the key " if isinstance(error, KeyError) else ""
            run.problems.append(f"{what}: can't be read ({lacks}{reason_of(error)})")
    checkpoints = checkpoints_of(folder)
    position = checkpoint_position(checkpoints[0].name) if checkpoints else None
    run.epochs = position[0] if position else None
    return run


def chosen(runs: Iterable[Listed], *, conditions: Sequence[str], column: str | None) -> list[Listed]:
    """Those that meet every condition "COLUMN=VALUE", sorted.

    Args:
        runs: all runs.
        conditions: a value is what the table shows, whatever the case of its letters, with * and ? for any others.
        column: by which they are sorted: dates, epochs and scores from the highest, others from the lowest, what is
            unknown last; None: as they come.

    Raises:
        UserError: there is no such column, or a condition without "=".
    """
    wanted = []
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals:
            raise UserError(f"--filter {condition}: expected COLUMN=VALUE")
        wanted.append((_checked("--filter", name), value.lower()))
    found = [run for run in runs if all(fnmatchcase(_cell(run, name).lower(), value) for name, value in wanted)]
    if column is None:
        return found
    key = _checked("--sort", column)
    known = [run for run in found if _value(run, key) not in (None, "")]
    known.sort(key=lambda run: _value(run, key), reverse=key in _FROM_THE_HIGHEST)
    return known + [run for run in found if _value(run, key) in (None, "")]


def as_table(runs: Sequence[Listed]) -> str:
    """The list as an aligned table; the column of problems only where there are some."""
    names = [name for name in COLUMNS if name != "problems" or any(run.problems for run in runs)]
    titles = {"best": "best %", "last": "last %"}
    lines = [[titles.get(name, name) for name in names], *([_cell(run, name) for name in names] for run in runs)]
    for place, name in enumerate(names):
        if name not in ("seed", "epochs", "best", "last"):
            width = max(len(line[place]) for line in lines)
            for line in lines:
                line[place] = line[place].ljust(width)
    return table(lines[0], lines[1:])


def _checked(flag: str, name: str) -> str:
    if name not in COLUMNS:
        raise UserError(f"{flag} {name}: no such column{nearest(name, COLUMNS)}; any of {', '.join(COLUMNS)}")
    return name


def _value(run: Listed, column: str) -> Any:
    value = getattr(run, column)
    return "; ".join(value) if column == "problems" else str(value) if column == "path" else value


def _cell(run: Listed, column: str) -> str:
    value = _value(run, column)
    if column == "problems":
        return printable(value)
    if value is None:
        return NOTHING
    if column == "epochs" and run.of_epochs is not None:
        return f"{value}/{run.of_epochs}"
    return percent(value) if column in ("best", "last") else printable(str(value))


def _read_config(run: Listed) -> None:
    config = read_json(run.path / "config.json")
    run.name, run.of_epochs = str(config["name"]), int(config["trainer"]["epochs"])
    run.seed = config["seed"] if isinstance(config.get("seed"), int) else None
    experts = config["arch"].get("args", {}).get("num_experts", 1)
    kind = config.get("method", {}).get("type", "")
    run.method = (f"{kind}, " if kind else "") + config["loss"]["type"] + (f" × {experts}" if experts != 1 else "")
    loader = config["data_loader"]
    imbalance = loader.get("args", {}).get("imb_factor")
    run.data = loader["type"].removesuffix("DataLoader") + ("" if imbalance is None else f" {imbalance:g}")


def _read_process(run: Listed) -> None:
    text = read_text_file(run.path / "run.json", "record of a run", most_bytes=_MOST_BYTES)
    first = json.loads(text)["processes"][0]
    run.date = f"{datetime.fromisoformat(first['started']):%Y-%m-%d %H:%M}"
    if run.seed is None and isinstance(first.get("seed"), int):
        run.seed = first["seed"]


def _read_results(run: Listed) -> None:
    """Scores, where it was tested at all; those of earlier versions, too, which call accuracy top1."""
    path = run.path / "results.json"
    if not path.exists():
        return
    rows = json.loads(read_text_file(path, "file of results", most_bytes=_MOST_BYTES))["results"]
    scores = [(_position(row), float(row.get("accuracy", row.get("top1")))) for row in rows if _is_main(row)]
    if scores:
        run.best = max(score for _, score in scores)
        run.last = max(scores, key=lambda scored: scored[0])[1]


def _is_main(row: Mapping[str, Any]) -> bool:
    plain = all(row.get(name, "none") in (None, "none") for name in ("prior", "calibration"))
    return plain and row["protocol"] == "test" and row["predictor"] == "ensemble"


def _position(row: Mapping[str, Any]) -> tuple[tuple[int, int], bool]:
    """How late its checkpoint is; of one checkpoint's weights the raw ones stand for it."""
    return checkpoint_position(str(row["checkpoint"])) or (-1, 0), row.get("weights", "raw") == "raw"

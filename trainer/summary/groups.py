"""Runs that differ in their seeds alone, and what keeps them from being compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from trainer.config.run_config import RunConfig
from trainer.continuation import WHERE_NOT_WHAT
from trainer.evaluation.result_files import RESULTS_JSON, read_results
from utils.config.differences import with_defaults
from utils.config.json_files import read_json
from utils.config.parser import CONFIG_NAME
from utils.errors import UserError
from utils.files.checkpoint_names import checkpoint_position
from utils.files.provenance import read_processes

_NOT_COMPARED = {"seed", "name", "trainer.save_dir", *WHERE_NOT_WHAT}


class Question(NamedTuple):
    """What a row of results is about; texts as `results.json` has them, empty where it has none."""

    data: str
    protocol: str
    weights: str
    prior: str
    calibration: str
    distribution: str
    predictor: str


@dataclass(frozen=True, eq=False)
class Run:
    """One run and its results.

    Args:
        folder: of the run.
        name: in its configuration.
        seed: in its configuration, else of its last process; None: unknown.
        settings: path of each key → its value as JSON, defaults included; without seed, name, place and hardware.
        commits: of the processes that trained it; "unknown" where there is no record.
        checkpoint: the one that the rows are of.
        rows: its results.
    """

    folder: Path
    name: str
    seed: int | None
    settings: Mapping[str, str]
    commits: frozenset[str]
    checkpoint: str
    rows: Mapping[Question, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one configuration.

    Args:
        label: "A", "B", …
        differing: the settings that another group has otherwise, as JSON; "absent" where this one has no such key.
        runs: at most one a seed, sorted by it.
    """

    label: str
    differing: Mapping[str, str]
    runs: Sequence[Run]

    @property
    def seeds(self) -> list[int | None]:
        """Of its runs."""
        return [run.seed for run in self.runs]

    def rows_by_seed(self, question: Question) -> dict[int | None, Mapping[str, Any]]:
        """Each run's row of one question, where it has one."""
        return {run.seed: run.rows[question] for run in self.runs if question in run.rows}


def read_run(folder: Path) -> Run:
    """A run with its results: those of its latest checkpoint that was evaluated; `model_best.pth` where no other was.

    Raises:
        UserError: configuration or results are missing or damaged.
    """
    config = read_json(folder / CONFIG_NAME)
    rows = read_results(folder / RESULTS_JSON)
    if not rows:
        raise UserError(f"{folder}: has no results that can be read: python test.py -r {folder}/CHECKPOINT first")
    try:
        processes = read_processes(folder)
    except UserError:
        processes = []
    checkpoint = max(
        (str(row.get("checkpoint")) for row in rows), key=lambda name: checkpoint_position(name) or (-1, 0)
    )
    settings = dict(_flat(with_defaults(config, RunConfig)))
    seed = config.get("seed", processes[-1].get("seed") if processes else None)
    return Run(
        folder,
        str(config.get("name", "")),
        seed if isinstance(seed, int) else None,
        {path: value for path, value in settings.items() if path not in _NOT_COMPARED},
        frozenset(str(process.get("commit") or "unknown") for process in processes) or frozenset({"unknown"}),
        checkpoint,
        {_question(row): row for row in rows if str(row.get("checkpoint")) == checkpoint},
    )


def read_groups(folders: Iterable[Path]) -> tuple[list[Group], list[str]]:
    """Groups of the runs that have results, see `grouped`, and warnings, also of those that were left out.

    Raises:
        UserError: none of them has results.
    """
    runs, left_out = list[Run](), list[str]()
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            left_out.append(f"left out: {error}")
    if not runs:
        raise UserError(f"no run with results among {len(left_out)}; the first: {left_out[0]}")
    groups, warnings = grouped(runs)
    return groups, left_out + warnings


def grouped(runs: Sequence[Run]) -> tuple[list[Group], list[str]]:
    """Groups in the order of their first runs, and warnings, one line each.

    Of several runs with the same configuration and seed the last counts: they are no independent draws.
    """
    warnings, by_settings = [], dict[tuple[tuple[str, str], ...], dict[int | Path | None, Run]]()
    for run in runs:
        members = by_settings.setdefault(tuple(sorted(run.settings.items())), {})
        place = run.folder if run.seed is None else run.seed
        if place in members:
            warnings.append(
                f"{members[place].folder}: left out: {run.folder} has its configuration and seed {run.seed}"
            )
        members[place] = run
    sets = [dict(settings) for settings in by_settings]
    paths = sorted({path for settings in sets for path in settings})
    differing = [path for path in paths if len({settings.get(path) for settings in sets}) > 1]
    groups = [
        Group(
            _label(number),
            {path: settings.get(path, "absent") for path in differing},
            sorted(members.values(), key=lambda run: (run.seed is None, run.seed or 0)),
        )
        for number, (settings, members) in enumerate(zip(sets, by_settings.values(), strict=True))
    ]
    return groups, warnings + warnings_about(groups)


def warnings_about(groups: Sequence[Group]) -> list[str]:
    """What makes means and comparisons doubtful, one line each: commits, missing seeds, unequal epochs."""
    runs = [run for group in groups for run in group.runs]
    found = []
    commits = Counter(" and ".join(sorted(commit[:10] for commit in run.commits)) for run in runs)
    if len(commits) > 1 or any(len(run.commits) > 1 for run in runs):
        found.append(f"mixed commits: {_counted(commits)}")
    seeds = {run.seed for run in runs if run.seed is not None}
    for group in groups:
        if missing := sorted(seeds.difference(seed for seed in group.seeds if seed is not None)):
            found.append(f"group {group.label} lacks seeds that another has: {', '.join(map(str, missing))}")
        if unknown := [str(run.folder) for run in group.runs if run.seed is None]:
            found.append(f"group {group.label} has runs of unknown seed: {', '.join(unknown)}")
    checkpoints = Counter(run.checkpoint for run in runs)
    if len(checkpoints) > 1:
        found.append(f"unequal epochs: {_counted(checkpoints)}")
    return found


def questions_of(groups: Iterable[Group]) -> list[Question]:
    """Every question that a run has a row of, in the order in which they first come."""
    return list(dict.fromkeys(question for group in groups for run in group.runs for question in run.rows))


def _question(row: Mapping[str, Any]) -> Question:
    return Question(*("" if row.get(name) is None else str(row[name]) for name in Question._fields))


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Paths and values of a configuration; numbers that are equal are written alike (1 and 1.0)."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, json.dumps(_alike(value), ensure_ascii=False, sort_keys=True, default=str)


def _alike(value: Any) -> Any:
    if isinstance(value, list):
        return [_alike(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count} run{'s' if count > 1 else ''})" for name, count in counts.items())


def _label(number: int) -> str:
    """A … Z, AA, AB …."""
    quotient, rest = divmod(number, 26)
    return (_label(quotient - 1) if quotient else "") + ascii_uppercase[rest]

"""What a page says that compares several runs, computed from their files; nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.intervals import wilson_interval
from trainer.report.content import ClassLine
from trainer.report.data import read_classes
from trainer.report.files import Curve, RunFiles
from trainer.report.files import read_run as read_files
from trainer.summary.comparisons import (
    Comparison,
    Spread,
    compare_images,
    compare_seeds,
    spread_of,
    with_holm,
)
from trainer.summary.groups import Group, Question, Run, questions_of, read_groups

_CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")


@dataclass(frozen=True, eq=False)
class Compared:
    """Everything on a page that compares runs.

    Args:
        groups: the runs by configuration, over their seeds.
        names: label of a group → what it is called on the page.
        lines: label → its classes on the test split, the mean of its runs; only groups of the first one's classes.
        curves: name of a curve → label → that of each run.
        image_tests: McNemar's of the ensembles, for every pair of groups that has been tested on the same images.
        warnings: what was left out, and what makes the comparison doubtful.
    """

    groups: Sequence[Group]
    names: Mapping[str, str]
    lines: Mapping[str, Sequence[ClassLine]]
    curves: Mapping[str, Mapping[str, Sequence[Curve]]]
    image_tests: Sequence[Comparison]
    warnings: Sequence[str]

    @property
    def questions(self) -> list[Question]:
        """Of the ensembles, in the order in which they come."""
        return [question for question in questions_of(self.groups) if question.predictor == "ensemble"]

    @property
    def whole(self) -> Question | None:
        """The test split without a prior and calibration, which most groups were asked; None: it was not tested."""
        plain = [
            question
            for question in self.questions
            if (question.prior, question.calibration) == ("none", "none") and _is_whole(question)
        ]
        return max(plain, key=lambda question: sum(bool(g.rows_by_seed(question)) for g in self.groups), default=None)

    def spread(self, group: Group, question: Question, metric: str) -> Spread | None:
        """A metric's mean and deviation over a group's runs; None where one of them has none."""
        rows = list(group.rows_by_seed(question).values())
        values = [float(row[metric]) for row in rows if row.get(metric) is not None]
        return spread_of(values) if len(values) == len(rows) else None

    def seed_tests(self) -> list[Comparison]:
        """Paired t tests of the balanced accuracy on the whole test split, for every pair of groups."""
        tests = compare_seeds(self.groups, "balanced_accuracy")
        return with_holm([test for test in tests if test.question == self.whole])

    def shifts(self) -> dict[str, list[Mapping[str, Any]]]:
        """For each group and prior the means of accuracy and ECE along the swept distributions."""
        series: dict[str, list[Mapping[str, Any]]] = {}
        for question in self.questions:
            for group in self.groups:
                accuracy, ece = (self.spread(group, question, name) for name in ("accuracy", "ece"))
                if question.protocol == "shifts" and accuracy and ece:
                    label = f"{group.label}, {'no prior' if question.prior == 'none' else f'prior {question.prior}'}"
                    label += "" if question.calibration == "none" else f", {question.calibration}"
                    row = {"distribution": question.distribution, "accuracy": accuracy.mean, "ece": ece.mean}
                    series.setdefault(label, []).append(row)
        return dict(sorted(series.items(), key=lambda entry: entry[0].partition(", ")[2] != "no prior"))


def read_compared(folders: Sequence[Path]) -> Compared:
    """Read runs and compute what a page says that compares them.

    Raises:
        UserError: none of them has results.
    """
    groups, warnings = read_groups(folders)
    files = {run: read_files(run.folder) for group in groups for run in group.runs}
    names = {group.label: ", ".join(dict.fromkeys(run.name for run in group.runs)) for group in groups}
    curves: dict[str, dict[str, list[Curve]]] = {}
    for name in _CURVES:
        for group in groups:
            if own := [files[run].curves[name] for run in group.runs if name in files[run].curves]:
                curves.setdefault(name, {})[group.label] = own
    tests, left_out = compare_images(groups)
    image_tests = with_holm([test for test in tests if test.question.predictor == "ensemble"])
    return Compared(groups, names, _lines(groups, files), curves, image_tests, [*warnings, *left_out])


def _is_whole(question: Question) -> bool:
    return question.protocol == "test" or "uniform" in question.distribution


def _lines(groups: Sequence[Group], files: Mapping[Run, RunFiles]) -> dict[str, list[ClassLine]]:
    found: dict[str, list[ClassLine]] = {}
    for group in groups:
        asked = [
            question
            for question in questions_of([group])
            if question.predictor == "ensemble"
            and (question.prior, question.calibration) == ("none", "none")
            and _is_whole(question)
        ]
        rows = list(group.rows_by_seed(asked[0]).values()) if asked else []
        if not rows or not all(isinstance(row.get("per_class"), list) for row in rows):
            continue
        if len({len(row["per_class"]) for row in rows}) > 1:
            continue
        lines = _class_lines(rows, files[group.runs[0]])
        if not found or len(lines) == len(next(iter(found.values()))):
            found[group.label] = lines
    return found


def _class_lines(rows: Sequence[Mapping[str, Any]], files: RunFiles) -> list[ClassLine]:
    tested = rows[0]["per_class_images"]
    classes = read_classes(files, len(tested))
    lines = []
    for label, images in enumerate(tested):
        share = float(np.mean([row["per_class"][label] for row in rows])) if images else math.nan
        low, high = wilson_interval(min(max(share, 0.0), 1.0), images) if images else (0.0, 1.0)
        trained = None if classes.counts is None else classes.counts[label]
        lines.append(ClassLine(label, classes.names[label], trained, images, share, low, high, (), ""))
    return lines

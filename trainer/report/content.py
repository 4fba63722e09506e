"""What a report says of a run, computed from its files; nothing is drawn here.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.intervals import wilson_interval
from trainer.report.data import RunClasses, read_classes
from trainer.report.files import RunFiles, read_run
from trainer.report.reliability import Reliability, reliability_of
from utils.shot_groups import shot_groups

_MOST_PAIRS = 10
_MOST_MISTAKES = 12
_ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class ClassLine:
    """One class on the test split: training images (None: unknown), test images, accuracy with its 95 % interval."""

    label: int
    name: str
    trained: int | None
    tested: int
    accuracy: float
    low: float
    high: float
    experts: tuple[float, ...]
    group: str

    def is_below(self, share: float) -> bool:
        """Whether its whole interval lies below a share."""
        return self.high < share


@dataclass(frozen=True)
class Pair:
    """How often images of one class are taken for another."""

    true: str
    predicted: str
    count: int
    of: int


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: the image as a `data:` URL, or an empty text."""

    true: str
    predicted: str
    confidence: float
    file: str
    picture: str


@dataclass(frozen=True, eq=False)
class Content:
    """Everything on the page about one run.

    Args:
        run: its files.
        classes: names, and training images where they are known.
        whole: the row of the ensemble on the test split without a prior; None: not tested.
        lines: of the classes, in the order of the labels; empty: not tested.
        reliability, pairs, mistakes: from the kept predictions; empty without them.
        remarks: which diagrams of reliability there are not, and why, a sentence each.
    """

    run: RunFiles
    classes: RunClasses
    whole: Mapping[str, Any] | None
    lines: Sequence[ClassLine]
    reliability: Sequence[Reliability]
    remarks: Sequence[str]
    pairs: Sequence[Pair]
    mistakes: Sequence[Mistake]

    @property
    def name(self) -> str:
        """Of the configuration, else of the folder."""
        return str(self.run.config.get("name") or self.run.folder.name)

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The results of the checkpoint that the report is about."""
        return _rows(self.run)

    @property
    def weak(self) -> list[ClassLine]:
        """The five classes of the lowest accuracy that are below the mean of the classes, the lowest first."""
        tested = [line for line in self.lines if line.tested]
        mean = self.mean_accuracy
        return sorted((line for line in tested if line.accuracy < mean), key=lambda line: (line.accuracy, line.high))[
            :5
        ]

    @property
    def mean_accuracy(self) -> float:
        """The mean accuracy of the classes that have test images."""
        accuracies = [line.accuracy for line in self.lines if line.tested]
        return float(np.mean(accuracies)) if accuracies else float("nan")


def read_content(folder: Path) -> Content:
    """Read a run's folder and compute what a report says of it; raises what `read_run` does."""
    run = read_run(folder)
    whole = _whole(run)
    of_arch = run.config.get("arch")
    classes_of_config = of_arch.get("args", {}).get("num_classes", 0) if isinstance(of_arch, dict) else 0
    if run.predictions is not None:
        num_classes = run.predictions.num_classes
    else:
        num_classes = len(whole["per_class"]) if whole else int(classes_of_config)
    classes = read_classes(run, num_classes)
    lines = _class_lines(run, whole, classes) if whole else []
    reliability, remarks = reliability_of(run.predictions, classes, _rows(run))
    return Content(run, classes, whole, lines, reliability, remarks, _pairs(run, classes), _mistakes(run, classes))


def _rows(run: RunFiles) -> list[Mapping[str, Any]]:
    checkpoint = None if run.checkpoint is None else run.checkpoint.name
    return [row for row in run.rows if row.get("checkpoint") == checkpoint]


def _whole(run: RunFiles) -> Mapping[str, Any] | None:
    """The plain ensemble on the whole split, or where `test.py` has not run on the uniform distribution."""
    plain = [
        row
        for row in _rows(run)
        if (row.get("prior"), row.get("predictor")) == ("none", _ENSEMBLE)
        and row.get("calibration", "none") == "none"
        and isinstance(row.get("per_class"), list)
        and isinstance(row.get("per_class_images"), list)
        and len(row["per_class"]) == len(row["per_class_images"])
    ]
    tests = [row for row in plain if row.get("protocol") == "test"]
    uniform = [row for row in plain if "uniform" in str(row.get("distribution"))]
    return next(iter([*tests, *uniform]), None)


def _class_lines(run: RunFiles, whole: Mapping[str, Any], classes: RunClasses) -> list[ClassLine]:
    question = ("checkpoint", "protocol", "prior", "distribution")
    experts = [
        row["per_class"]
        for row in run.rows
        if all(row.get(key) == whole.get(key) for key in question)
        and str(row.get("predictor")).startswith("expert")
        and len(row.get("per_class", ())) == len(whole["per_class"])
    ]
    groups = ["unknown"] * len(whole["per_class"])
    if classes.counts is not None:
        for group, mask in shot_groups(classes.counts).items():
            groups = [group if inside else before for inside, before in zip(mask, groups, strict=True)]
    lines = []
    for label, (accuracy, tested) in enumerate(zip(whole["per_class"], whole["per_class_images"], strict=True)):
        low, high = wilson_interval(accuracy, tested) if tested else (0.0, 1.0)
        own = tuple(expert[label] if tested else float("nan") for expert in experts)
        trained = None if classes.counts is None else classes.counts[label]
        share = accuracy if tested else float("nan")
        lines.append(ClassLine(label, classes.names[label], trained, tested, share, low, high, own, groups[label]))
    return lines


def _pairs(run: RunFiles, classes: RunClasses) -> list[Pair]:
    if run.predictions is None:
        return []
    predicted, targets, wrong = run.predictions.predicted, run.predictions.targets, ~run.predictions.right
    found, counts = np.unique(np.stack([targets[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    tested = np.bincount(targets, minlength=len(classes.names))
    order = np.argsort(-counts, kind="stable")[:_MOST_PAIRS]
    return [
        Pair(
            classes.names[found[place][0]],
            classes.names[found[place][1]],
            int(counts[place]),
            int(tested[found[place][0]]),
        )
        for place in order
    ]


def _mistakes(run: RunFiles, classes: RunClasses) -> list[Mistake]:
    if run.predictions is None:
        return []
    targets, indices, predicted = run.predictions.targets, run.predictions.indices, run.predictions.predicted
    confidences, wrong = run.predictions.confidences, np.flatnonzero(~run.predictions.right)
    worst = wrong[np.argsort(-confidences[wrong], kind="stable")][:_MOST_MISTAKES]
    pictures = classes.pictures(indices[worst].tolist())
    files = [str(index) for index in indices[worst]]
    if classes.loader is not None:
        files = classes.loader.files_of(indices[worst])
    return [
        Mistake(
            classes.names[targets[place]], classes.names[predicted[place]], float(confidences[place]), file, picture
        )
        for place, file, picture in zip(worst, files, pictures, strict=True)
    ]

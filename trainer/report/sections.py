"""The report of one run as sections of words, pictures and tables, and what is said of it in a headline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from model.intervals import wilson_interval
from model.metrics import METRICS
from trainer.report.content import ClassLine, Content
from trainer.report.parts import Part, Picture, Table
from trainer.report.pictures import (
    classes_figure,
    curves_by_panel,
    curves_figure,
    reliability_figure,
    shift_series,
    shifts_figure,
)
from utils.reporting.tables import NOTHING, decimal, percent

_MOST_ROWS = 40
_CALIBRATION = ("ece", "mce", "adaptive_ece", "classwise_ece", "overconfidence", "underconfidence", "brier", "nll")


def headline(content: Content) -> list[str]:
    """What was trained, on what, how good it is, and which classes are weak, in sentences."""
    return [_trained(content), *([_good(content), _weak(content)] if content.whole else [])]


def _trained(content: Content) -> str:
    arch, counts = content.run.config.get("arch"), content.classes.counts
    network = str(arch.get("type", "A network")) if isinstance(arch, dict) else "A network"
    experts = arch.get("args", {}).get("num_experts", 1) if isinstance(arch, dict) else 1
    epochs = max((epochs[-1] for epochs, _ in content.run.curves.values()), default=None)
    images = (
        f"{len(content.classes.names)} classes"
        if counts is None
        else f"{sum(counts):,} images of {len(counts):,} classes, {max(counts):,} to {min(counts):,} a class"
    )
    long = "" if epochs is None else f" for {epochs} epochs"
    return f"{network} with {experts} expert{'s' * (experts != 1)}, trained{long} on {images}."


def _good(content: Content) -> str:
    row = content.whole or {}
    low, high = wilson_interval(row["accuracy"], row["images"])
    return (
        f"On {row['images']:,} test images ({row['distribution']}) it is right in {percent(row['accuracy'])} % "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %); the mean of the class accuracies is "
        f"{percent(row['balanced_accuracy'])} %. Its confidence is off by {percent(row['ece'])} % (ECE)."
    )


def _weak(content: Content) -> str:
    mean, weak = content.mean_accuracy, content.weak
    if not weak:
        return "No class is below the mean of the classes."
    sure = [line for line in weak if line.is_below(mean)]
    named = "; ".join(_one(line) for line in weak)
    if not sure:
        return (
            f"The lowest classes are {named}. None is surely weak: each interval includes the mean, "
            f"{100 * mean:.1f} %; more test images would tell."
        )
    surely = ", ".join(line.name for line in sure)
    tested = sum(line.tested > 0 for line in content.lines)
    chance = f"about {tested / 40:,.0f} of {tested:,}" if tested > 40 else "one in 40"
    return (
        f"The lowest classes are {named}. Of these, the whole interval lies below the mean, {100 * mean:.1f} %, for: "
        f"{surely}. (Were all classes as good as the mean, {chance} would seem worse by chance.)"
    )


def _one(line: ClassLine) -> str:
    trained = "" if line.trained is None else f", {line.trained:,} for training"
    share = f"{100 * line.accuracy:.1f} %, {100 * line.low:.0f} to {100 * line.high:.0f} %"
    return f"{line.name} ({share}; {line.tested:,} test image{'s' * (line.tested != 1)}{trained})"


def sections(content: Content) -> list[Part]:
    """Everything about one run that there is something to say of."""
    parts = [*_measured(content), *_looked_at(content), _data(content), _configuration(content)]
    return [part for part in parts if not part.is_empty]


def _measured(content: Content) -> list[Part]:
    curves, shifts = curves_by_panel(content.run.curves), shift_series(content)
    shown = ("accuracy", "balanced_accuracy", "many", "medium", "few", "ece")
    rows = [
        (*_question(row), f"{row.get('images', 0):,}", *(percent(row.get(name)) for name in shown))
        for row in content.rows
    ]
    header = ("distribution", "predictor", "prior", "images", *(f"{METRICS[name].title} %" for name in shown))
    results = [Table(f"Results{_of(rows)}", header, rows[:_MOST_ROWS])] if rows else []
    drawn = [Picture("shifts", shifts_figure, shifts, _shifts_alt(shifts), _SHIFTS)] if shifts else []
    words = [_NO_SWEEP] if rows and not shifts else []
    training = [Picture("curves", curves_figure, curves, _curves_alt(content), _CURVES)] if curves else []
    return [
        Part("results", "Accuracy and calibration along the shifts", words, drawn=drawn, tables=results),
        Part("training", "Training", drawn=training),
        _classes(content),
    ]


def _question(row: Mapping[str, Any]) -> tuple[str, str, str]:
    calibration = row.get("calibration") or "none"
    prior = str(row.get("prior")) + ("" if calibration == "none" else f", {calibration}")
    return str(row.get("distribution")), str(row.get("predictor")), prior


def _of(rows: Sequence[object]) -> str:
    return f", the first {_MOST_ROWS} of {len(rows):,} rows; all are in results.csv" if len(rows) > _MOST_ROWS else ""


def _classes(content: Content) -> Part:
    tested = sorted((line for line in content.lines if line.tested), key=lambda line: (line.accuracy, line.high))
    rows = [class_cells(line) for line in tested[:_MOST_ROWS]]
    which = f"The {_MOST_ROWS} lowest of {len(tested):,} classes" if len(tested) > _MOST_ROWS else "Classes"
    experts = [f"expert {place} %" for place in range(len(content.lines[0].experts))] if content.lines else []
    header = ("class", "training images", "test images", "accuracy %", "95 % interval", "group", *experts)
    tables = [Table(f"{which}, the lowest first; all are in classes.csv", header, rows)] if rows else []
    drawn = [Picture("classes", classes_figure, content.lines, _classes_alt(content), _CLASSES)] if tested else []
    return Part("classes", "Classes", drawn=drawn, tables=tables)


def class_cells(line: ClassLine) -> tuple[str, ...]:
    """A class as a row of the table."""
    trained = NOTHING if line.trained is None else f"{line.trained:,}"
    if not line.tested:
        return line.name, trained, "0", NOTHING, NOTHING, line.group, *(NOTHING for _ in line.experts)
    interval = f"{100 * line.low:.1f} – {100 * line.high:.1f}"
    return (
        line.name,
        trained,
        f"{line.tested:,}",
        percent(line.accuracy),
        interval,
        line.group,
        *map(percent, line.experts),
    )


def _looked_at(content: Content) -> list[Part]:
    diagrams = content.reliability
    alt = "Accuracy over confidence. " + "; ".join(
        f"{each.title}: ECE {100 * each.ece:.1f} % of {each.images} images" for each in diagrams
    )
    drawn = [Picture("reliability", reliability_figure, diagrams, alt, _RELIABILITY)] if diagrams else []
    shown = [
        (each.title, f"{each.images:,}", *map(percent, (each.accuracy, each.confidence, each.ece))) for each in diagrams
    ]
    header = ("test images", "images", "accuracy %", "mean confidence %", "ECE %")
    tables = [Table("Reliability by groups of classes and distributions", header, shown)] if shown else []
    ensembles = [row for row in content.rows if row.get("predictor") == "ensemble"][:_MOST_ROWS]
    cells = [(*_question(row)[::2], *(_metric(name, row.get(name)) for name in _CALIBRATION)) for row in ensembles]
    titles = [METRICS[name].title + " %" * METRICS[name].percent for name in _CALIBRATION]
    tables += [Table("Calibration of the ensemble", ("distribution", "prior", *titles), cells)] if cells else []
    pairs = [(pair.true, pair.predicted, f"{pair.count:,}", f"{pair.of:,}") for pair in content.pairs]
    confused = [Table("Classes that are confused most", ("class", "taken for", "times", "of test images"), pairs)]
    return [
        Part("calibration", "Calibration", content.remarks, drawn=drawn, tables=tables),
        Part("confused", "Most confused", tables=confused if pairs else []),
        Part("mistakes", "Most confident mistakes", mistakes=content.mistakes),
    ]


def _metric(name: str, value: Any) -> str:
    return percent(value) if METRICS[name].percent else decimal(value)


def _data(content: Content) -> Part:
    """What was trained and tested on, with the digests that tell it from other data of the same name."""
    loader, counts = content.run.config.get("data_loader"), content.classes.counts
    words = []
    if counts is not None:
        trained = f"{sum(counts):,} training images of {len(counts):,} classes"
        words.append(f"{trained}{'' if len(counts) > _MOST_ROWS else f': {counts}'}.")
    keys = ("data", "selection", "distribution", "images", "trained_on")
    tested = list(dict.fromkeys(tuple(_said(row.get(key)) for key in keys) for row in content.rows))
    header = ("data, SHA-256 of images and labels", "selected", "distribution", "images", "of these trained on")
    tables = [Table(f"Test images{_of(tested)}", header, tested[:_MOST_ROWS])] if tested else []
    text = json.dumps(loader, indent=1, ensure_ascii=False)
    return Part("data", "Data", words, tables=tables, texts=[text] if isinstance(loader, dict) else [])


def _said(value: Any) -> str:
    return NOTHING if value in (None, "") else str(value)


def _configuration(content: Content) -> Part:
    rows = []
    for process in content.run.processes:
        packages = process.get("packages")
        versions = ", ".join(f"{k} {v}" for k, v in packages.items()) if isinstance(packages, dict) else ""
        rows.append(
            (
                *(str(process.get(key, NOTHING)) for key in ("started", "command", "commit", "device")),
                f"Python {process.get('python', '?')}, {versions}",
            )
        )
    table = Table("Processes that trained", ("started", "command", "commit", "device", "versions"), rows, words=True)
    text = json.dumps(content.run.config, indent=1, ensure_ascii=False)
    return Part("configuration", "Configuration", tables=[table] if rows else [], texts=[text])


def _curves_alt(content: Content) -> str:
    last = "; ".join(f"{name} {values[-1]:.4g}" for name, (_, values) in list(content.run.curves.items())[:8])
    return f"Curves over the epochs. At the last: {last}."


def _shifts_alt(series: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    return "Accuracy and ECE along the shifts. " + " ".join(
        f"{label}: {'; '.join(shift_in_words(row) for row in rows[:12])}." for label, rows in series.items()
    )


def shift_in_words(row: Mapping[str, Any]) -> str:
    """A distribution with its accuracy and ECE."""
    return f"{row['distribution']} {percent(row['accuracy'])} %, ECE {percent(row['ece'])} %"


def _classes_alt(content: Content) -> str:
    lowest = "; ".join(_one(line) for line in content.weak)
    return f"Accuracy of each class with its 95 % interval. The lowest: {lowest or 'none below the mean'}."


_CURVES = "Loss, accuracy and learning rate. Training accuracy is of mixed images where mixup is on."
_SHIFTS = "From forward (like the training frequencies) over uniform to backward; top-1 accuracy and ECE."
_CLASSES = "From most to fewest training images. Bars: 95 % intervals (Wilson) by the number of test images."
_RELIABILITY = "On the dotted line confidence is right; below it the ensemble is too sure. A dot's size: its images."
_NO_SWEEP = (
    "Only the test split as it is has been evaluated. Shifted test distributions come with test_all_cifar.py, "
    "test_all_imagenet.py or test_all_inat.py, as far as the test images allow them."
)

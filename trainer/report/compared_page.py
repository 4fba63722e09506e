"""The page that compares several runs: groups by configuration, mean ± standard deviation over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from model.metrics import METRICS
from trainer.report.compared import Compared, read_compared
from trainer.report.compared_differences import differences
from trainer.report.compared_pictures import comparable_classes, compared_classes_figure, compared_curves_figure
from trainer.report.parts import Page, Part, Picture, Table
from trainer.report.pictures import shifts_figure
from trainer.report.sections import shift_in_words
from trainer.report.writing import write_page
from trainer.summary.comparisons import Spread
from trainer.summary.tables import MAIN_METRICS
from utils.reporting.tables import NOTHING, decimal, percent

_MOST_ROWS = 120
_MOST_CLASSES = 40


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write the page that compares runs to `out`, and return that; raises what `read_compared` and `write_page` do."""
    compared = read_compared(folders)
    runs = sum(len(group.runs) for group in compared.groups)
    parts = [
        _groups(compared),
        differences(compared),
        _metrics(compared),
        _classes(compared),
        _training(compared),
    ]
    page = Page(
        title=f"Comparison of {runs} runs",
        headline=comparison_in_words(compared),
        missing=compared.warnings,
        parts=[part for part in parts if not part.is_empty],
        footer=f"{', '.join(str(run.folder) for group in compared.groups for run in group.runs)}. "
        "Written by python -m tools.report.",
    )
    write_page(out, page, tables={})
    return out


def comparison_in_words(compared: Compared) -> list[str]:
    """Which group is best on the test split, and whether the next one is worse for other seeds, too."""
    question = compared.whole
    words = [f"{len(compared.groups)} configurations." if len(compared.groups) > 1 else "One configuration."]
    if question is None:
        return [*words, "None was tested on a uniform or whole test split without a prior."]
    scores = [(group, compared.spread(group, question, "balanced_accuracy")) for group in compared.groups]
    ranked = sorted(((s.mean, s, group) for group, s in scores if s), key=lambda each: -each[0])
    told = "; ".join(
        f"{group.label} ({compared.names[group.label]}) {_cell('balanced_accuracy', spread)} % "
        f"of {spread.runs} run{'s' * (spread.runs > 1)}"
        for _, spread, group in ranked
    )
    words.append(
        f"The mean of the class accuracies on the test split ({question.distribution}), the best first: {told}."
    )
    if len(ranked) > 1:
        pair = {ranked[0][2].label, ranked[1][2].label}
        test = next((each for each in compared.seed_tests() if {each.first, each.second} == pair), None)
        between = " and ".join(sorted(pair))
        if test is None or test.p_value is None:
            words.append(f"Whether {between} differ for other seeds, too, takes two seeds that both have.")
        else:
            words.append(
                f"{between} over {test.seeds} common seeds: p = {test.p_value:.2g} (paired t test, two-sided)."
            )
    return words


def _groups(compared: Compared) -> Part:
    settings = sorted({path for group in compared.groups for path in group.differing})
    rows = [(path, *(group.differing.get(path, NOTHING) for group in compared.groups)) for path in settings]
    header = ("setting", *(group.label for group in compared.groups))
    tables = [Table("Settings that differ", header, rows, words=True)] if rows else []
    seeds = {g.label: ", ".join("unknown" if seed is None else str(seed) for seed in g.seeds) for g in compared.groups}
    words = [
        f"{label}: {compared.names[label]}, seed{'s' * (', ' in named)} {named}." for label, named in seeds.items()
    ]
    return Part("groups", "Groups", words, tables=tables)


def _metrics(compared: Compared) -> Part:
    rows = []
    for question in compared.questions:
        for group in compared.groups:
            if count := len(group.rows_by_seed(question)):
                prior = question.prior + ("" if question.calibration == "none" else f", {question.calibration}")
                cells = [_cell(name, compared.spread(group, question, name)) for name in MAIN_METRICS]
                rows.append((question.distribution, group.label, question.protocol, prior, str(count), *cells))
    titles = [METRICS[name].title + " %" * METRICS[name].percent for name in MAIN_METRICS]
    header = ("distribution", "group", "protocol", "prior", "runs", *titles)
    more = f", the first {_MOST_ROWS} of {len(rows)}; all by python -m tools.summary" if len(rows) > _MOST_ROWS else ""
    table = Table(f"Ensembles, mean ± standard deviation over seeds{more}", header, rows[:_MOST_ROWS])
    series = compared.shifts()
    alt = "Accuracy and ECE along the shifts. " + " ".join(
        f"{label}: {'; '.join(map(shift_in_words, shown[:12]))}." for label, shown in series.items()
    )
    told = "Means over seeds; top-1 accuracy and ECE."
    drawn = [Picture("shifts", shifts_figure, series, alt, told)] if any(series.values()) else []
    return Part("results", "Accuracy and calibration along the shifts", drawn=drawn, tables=[table] if rows else [])


def _classes(compared: Compared) -> Part:
    tested, labels = comparable_classes(compared.lines), list(compared.lines)
    if not tested:
        return Part("classes", "Classes")
    rows = sorted(zip(*compared.lines.values(), strict=True), key=lambda lines: _apart([x.accuracy for x in lines]))
    cells = [
        (
            lines[0].name,
            NOTHING if lines[0].trained is None else f"{lines[0].trained:,}",
            f"{lines[0].tested:,}",
            *(percent(line.accuracy) if line.tested else NOTHING for line in lines),
        )
        for lines in rows[:_MOST_CLASSES]
    ]
    header = ("class", "training images", "test images", *(f"{label} %" for label in labels))
    which = f"{_MOST_CLASSES} of {len(rows):,} classes" if len(rows) > _MOST_CLASSES else "Classes"
    lowest = "; ".join(f"{row[0]}: {', '.join(row[3:])} %" for row in cells[:5])
    alt = f"Accuracy of each class for {', '.join(labels)}. Furthest apart: {lowest}."
    told = "From most to fewest training images. Bars: 95 % intervals (Wilson) by the number of test images."
    table = Table(f"{which}, the furthest apart first", header, cells)
    picture = Picture("classes", compared_classes_figure, tested, alt, told)
    return Part("classes", "Classes", drawn=[picture], tables=[table])


def _training(compared: Compared) -> Part:
    if not compared.curves:
        return Part("training", "Training")
    last = "; ".join(
        f"{name} {', '.join(f'{label} {runs[0][1][-1]:.4g}' for label, runs in groups.items())}"
        for name, groups in compared.curves.items()
    )
    alt = f"Curves over the epochs. At the last, of each group's first run: {last}."
    picture = Picture("curves", compared_curves_figure, compared.curves, alt, "A line for each run.")
    return Part("training", "Training", drawn=[picture])


def _apart(accuracies: Sequence[float]) -> float:
    return min(accuracies) - max(accuracies) if not any(map(math.isnan, accuracies)) else 1.0


def _cell(name: str, spread: Spread | None) -> str:
    if spread is None:
        return NOTHING
    shown = percent if METRICS[name].percent else decimal
    return shown(spread.mean) if spread.std is None else f"{shown(spread.mean)} ± {shown(spread.std)}"

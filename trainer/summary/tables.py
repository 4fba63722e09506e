"""Summaries and comparisons as tables: aligned, CSV, Markdown, LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.metrics import METRICS
from trainer.summary.comparisons import Comparison, Spread, spread_of
from trainer.summary.groups import Group, Question, questions_of
from utils.errors import printable
from utils.files.writing import csv_text
from utils.reporting.tables import NOTHING, decimal, percent, table

MAIN_METRICS = [*(name for name, metric in METRICS.items() if metric.in_table), "nll"]
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "–": "--", "−": "$-$"},
}


@dataclass(frozen=True)
class Sheet:
    """A table before it is written.

    Args:
        title: one line.
        names: of the columns, in CSV.
        titles: of the columns, elsewhere.
        rows: the cells: text, whole numbers, fractions, spreads; None where there is nothing.
    """

    title: str
    names: Sequence[str]
    titles: Sequence[str]
    rows: Sequence[Sequence[Any]]


def summary_sheet(groups: Sequence[Group]) -> Sheet:
    """A row for each group and question: mean ± standard deviation of the main metrics over the group's runs.

    A metric that a run lacks (an empty group of classes) has none.
    """
    rows = []
    for question in questions_of(groups):
        for group in groups:
            own = list(group.rows_by_seed(question).values())
            if own:
                cells = [_spread([row.get(name) for row in own]) for name in MAIN_METRICS]
                rows.append([group.label, _settings(group), *question, len(own), *cells])
    titles = [f"{METRICS[name].title} %" if METRICS[name].percent else METRICS[name].title for name in MAIN_METRICS]
    return Sheet(
        "Mean ± standard deviation over seeds",
        ["group", "settings", *Question._fields, "runs", *MAIN_METRICS],
        ["group", "settings", *Question._fields, "runs", *titles],
        rows,
    )


def comparison_sheet(title: str, comparisons: Sequence[Comparison]) -> Sheet:
    """A row for each test of one kind."""
    images = any(each.counts for each in comparisons)
    rows = [
        [
            *(f"{each.first} − {each.second}", *each.question, each.seeds),
            *(each.difference, *((each.counts or ()) if images else [each.margin]), each.p_value, each.adjusted),
        ]
        for each in comparisons
    ]
    names = ["pair", *Question._fields, "seeds", "difference"]
    names += [*(["first_alone", "second_alone"] if images else ["margin"]), "p", "p_holm"]
    titles = {"margin": "± 95 %", "first_alone": "only 1st", "second_alone": "only 2nd", "p_holm": "p (Holm)"}
    return Sheet(title, names, [titles.get(name, name) for name in names], rows)


def describe(groups: Sequence[Group]) -> list[str]:
    """A line for each group: seeds, names, and the settings in which it differs from another."""
    lines = []
    for group in groups:
        seeds = ", ".join("unknown" if seed is None else str(seed) for seed in group.seeds)
        names = ", ".join(dict.fromkeys(run.name for run in group.runs))
        told = [f"seed{'s' if len(group.runs) > 1 else ''} {seeds}", names, *filter(None, [_settings(group)])]
        lines.append(printable(f"{group.label}: {'; '.join(told)}"))
    return lines


def written(sheets: Sequence[Sheet], remarks: Sequence[str], kind: str) -> str:
    """Tables as text; `kind` is "table", "csv" (of full precision, without remarks), "markdown" or "latex"."""
    if kind == "csv":
        return "\n".join(_as_csv(sheet) for sheet in sheets)
    parts = []
    for sheet in map(_shortened, sheets):
        cells = [[_cell(name, value) for name, value in zip(sheet.names, row, strict=True)] for row in sheet.rows]
        if kind == "markdown":
            parts.append(_as_markdown(sheet, cells))
        elif kind == "latex":
            parts.append(_as_latex(sheet, cells))
        else:
            parts.append(f"{sheet.title}:\n{table(sheet.titles, cells)}\n")
    told = {"markdown": [f"- {_for_markdown(line)}" for line in remarks], "latex": [f"% {line}" for line in remarks]}
    return "\n".join([*parts, "".join(f"{line}\n" for line in told.get(kind, remarks))])


def for_latex(text: str) -> str:
    """Text with what LaTeX would take for its own escaped."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _settings(group: Group) -> str:
    """In which settings it differs from another group."""
    return "; ".join(f"{path} = {value}" for path, value in group.differing.items())


def _spread(values: Sequence[Any]) -> Spread | None:
    return None if any(value is None for value in values) else spread_of(values)


def _shortened(sheet: Sheet) -> Sheet:
    """Without settings, which `describe` has, and what is the same of every question; the distribution stays."""
    dull = {place for place, name in enumerate(sheet.names) if name == "settings"}
    dull |= {
        place
        for place, name in enumerate(sheet.names)
        if name in Question._fields and name != "distribution" and len({row[place] for row in sheet.rows}) < 2
    }
    names, titles, *rows = [
        [cell for place, cell in enumerate(line) if place not in dull]
        for line in (sheet.names, sheet.titles, *sheet.rows)
    ]
    return Sheet(sheet.title, names, titles, rows)


def _cell(name: str, value: Any) -> str:
    """A value as text; metrics by their own rule."""
    if value is None:
        return NOTHING
    if isinstance(value, Spread):
        shown = percent if METRICS[name].percent else decimal
        return shown(value.mean) if value.std is None else f"{shown(value.mean)} ± {shown(value.std)}"
    if name in ("p", "p_holm"):
        return f"{value:.2g}"
    return f"{value:+.4f}" if isinstance(value, float) else str(value)


def _as_csv(sheet: Sheet) -> str:
    """Fractions as they are; a spread is three columns, the last half of its 95 % interval."""
    spreads = {place for row in sheet.rows for place, cell in enumerate(row) if isinstance(cell, Spread)}
    spreads |= {place for place, name in enumerate(sheet.names) if name in METRICS}
    header = [
        [f"{name}_mean", f"{name}_std", f"{name}_margin"] if i in spreads else [name]
        for i, name in enumerate(sheet.names)
    ]
    rows = []
    for row in sheet.rows:
        parts = [
            [cell.mean, cell.std, cell.margin] if isinstance(cell, Spread) else [cell] * (3 if i in spreads else 1)
            for i, cell in enumerate(row)
        ]
        rows.append([cell for part in parts for cell in part])
    return csv_text([name for part in header for name in part], rows)


def _for_markdown(text: str) -> str:
    return re.sub(r"([\\|*_<`])", r"\\\1", text)


def _as_markdown(sheet: Sheet, cells: Sequence[Sequence[str]]) -> str:
    lines = [[_for_markdown(cell) for cell in line] for line in (sheet.titles, *cells)]
    rule = [":--" if place == 0 else "--:" for place in range(len(sheet.titles))]
    rows = [f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:])]
    return f"**{_for_markdown(sheet.title)}**\n\n{''.join(rows)}"


def _as_latex(sheet: Sheet, cells: Sequence[Sequence[str]]) -> str:
    """A `table` with rules of the package booktabs."""
    lines = [f"{' & '.join(map(for_latex, line))} \\\\\n" for line in (sheet.titles, *cells)]
    columns = "l" + "r" * (len(sheet.titles) - 1)
    return (
        f"\\begin{{table}}\n\\caption{{{for_latex(sheet.title)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{lines[0]}\\midrule\n{''.join(lines[1:])}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )

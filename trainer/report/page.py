"""The report on one run: its content as a page and a table of its classes."""

from __future__ import annotations

from pathlib import Path

from trainer.report.content import Content, read_content
from trainer.report.parts import Page
from trainer.report.sections import headline, sections
from trainer.report.writing import write_page
from utils.files.writing import csv_text

PAGE = "report.html"


def write_report(folder: Path, out: Path | None = None, *, keeps_pictures: bool = False) -> Path:
    """Write a run's report.

    Args:
        folder: of the run.
        out: the page; None: `report.html` in the run's folder. Pictures and the table of classes lie beside it, see
            `write_page`.
        keeps_pictures: whether those of an earlier page stay that show the same; else all are drawn anew.

    Returns:
        where the page is.

    Raises:
        UserError: the folder is no run's, or can't be written to.
    """
    content = read_content(folder)
    path = out or folder / PAGE
    checkpoint = "no checkpoint" if content.run.checkpoint is None else content.run.checkpoint.name
    page = Page(
        title=f"Report on {content.name}",
        headline=headline(content),
        missing=content.run.missing,
        parts=sections(content),
        footer=f"{content.run.folder}, {checkpoint}. Written by python -m tools.report.",
    )
    tables = {"classes.csv": _classes_csv(content)} if content.lines else {}
    write_page(path, page, tables=tables, keeps=keeps_pictures)
    return path


def _classes_csv(content: Content) -> str:
    experts = [f"expert {place}" for place in range(len(content.lines[0].experts))]
    header = ["label", "class", "training images", "test images", "accuracy", "low", "high", "group", *experts]
    rows = []
    for line in content.lines:
        numbers = (line.accuracy, line.low, line.high) if line.tested else ("", "", "")
        shares = line.experts if line.tested else [""] * len(experts)
        rows.append([line.label, line.name, line.trained, line.tested, *numbers, line.group, *shares])
    return csv_text(header, rows)

"""From sections to files: one HTML page with everything in it, and the pictures and the table of classes beside."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trainer.report.content import Content, read_content
from trainer.report.pictures import picture_bytes
from trainer.report.sections import Part, headline, sections
from utils.errors import UserError
from utils.files.writing import write_bytes, write_text

PAGE = "report.html"


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write a run's report.

    Args:
        folder: of the run.
        out: the page; None: `report.html` in the run's folder. Pictures and the table of classes lie in a folder
            beside it that is named like it without its ending.

    Returns:
        where the page is.

    Raises:
        UserError: the folder is no run's, or can't be written to.
    """
    content = read_content(folder)
    page = out or folder / PAGE
    beside = page.with_suffix("")
    if beside == page:
        raise UserError(f"--out {page}: give the page's name an ending: {page}.html")
    parts = sections(content)
    try:
        beside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{beside}: can't make the folder: {error.strerror}") from None
    drawn = {picture.name: picture_bytes(picture.figure) for part in parts for picture in part.drawn}
    for name, picture in drawn.items():
        write_bytes(beside / f"{name}.png", picture)
    if content.lines:
        write_text(beside / "classes.csv", _classes_csv(content))
    write_text(page, _html(content, parts, drawn))
    return page


def _html(content: Content, parts: Sequence[Part], drawn: dict[str, bytes]) -> str:
    loader = FileSystemLoader(Path(__file__).parent)
    # names of classes and files come from anywhere: everything is escaped
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.jinja")
    shown = [
        {
            "key": part.key,
            "title": part.title,
            "words": part.words,
            "tables": part.tables,
            "mistakes": part.mistakes,
            "texts": part.texts,
            "pictures": [
                {"source": _inlined(drawn[each.name]), "alt": each.alt, "caption": each.caption} for each in part.drawn
            ],
        }
        for part in parts
    ]
    checkpoint = "no checkpoint" if content.run.checkpoint is None else content.run.checkpoint.name
    html = template.render(
        title=f"Report on {content.name}",
        headline=headline(content),
        missing=content.run.missing,
        sections=shown,
        footer=f"{content.run.folder}, {checkpoint}. Written by python -m tools.report.",
    )
    return html.encode("utf-8", "backslashreplace").decode() + "\n"  # names of files may be no UTF-8


def _inlined(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _classes_csv(content: Content) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    experts = [f"expert {place}" for place in range(len(content.lines[0].experts))]
    writer.writerow(["label", "class", "training images", "test images", "accuracy", "low", "high", "group", *experts])
    for line in content.lines:
        numbers = (line.accuracy, line.low, line.high) if line.tested else ("", "", "")
        shares = line.experts if line.tested else [""] * len(experts)
        writer.writerow([line.label, line.name, line.trained, line.tested, *numbers, line.group, *shares])
    return buffer.getvalue().encode("utf-8", "backslashreplace").decode()

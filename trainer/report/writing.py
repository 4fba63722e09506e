"""From a page's parts to files: one HTML file with everything in it, and the pictures and tables beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trainer.report.drawing import drawn, kept
from trainer.report.parts import Page
from utils.errors import UserError
from utils.files.writing import write_bytes, write_text


def write_page(path: Path, page: Page, *, tables: Mapping[str, str], keeps: bool = False) -> None:
    """Write a page, and its pictures and tables into a folder beside it that is named like it without its ending.

    Args:
        path: of the page.
        page: its content.
        tables: name of a file → its text.
        keeps: whether a picture that lies there already, and shows the same, is left as it is instead of drawn anew.

    Raises:
        UserError: the page's name has no ending, or it can't be written there.
    """
    beside = path.with_suffix("")
    if beside == path:
        raise UserError(f"--out {path}: give the page's name an ending: {path}.html")
    try:
        beside.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{beside}: can't make the folder: {error.strerror}") from None
    pictures = [picture for part in page.parts for picture in part.drawn]
    earlier = {picture.name: kept(picture, beside) for picture in pictures} if keeps else {}
    pngs = {picture.name: earlier.get(picture.name) or drawn(picture) for picture in pictures}
    for name, png in pngs.items():
        if png is not earlier.get(name):
            write_bytes(beside / f"{name}.png", png)
    for name, text in tables.items():
        write_text(beside / name, _encodable(text))
    write_text(path, _encodable(_html(page, pngs)))


def _html(page: Page, pictures: Mapping[str, bytes]) -> str:
    loader = FileSystemLoader(Path(__file__).parent)
    # names of classes and files come from anywhere: everything is escaped
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.jinja")
    sources = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in pictures.items()}
    return template.render(page=page, sources=sources) + "\n"


def _encodable(text: str) -> str:
    """Names of files may be no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()

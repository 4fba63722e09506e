"""Images with their predicted classes on one page, to be looked at: as a picture, or as HTML.

Each is shown as the network sees it: what it was given, not what the file looks like elsewhere. `S` side of an image.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from data_loader.given_images import GivenImagesLoader
from trainer.inference.predicted_rows import joined
from trainer.report import page as report_page
from utils.errors import UserError
from utils.files.writing import write_bytes, write_text
from utils.reporting.plots import drawable

MOST = {"picture": 60, "page": 300}
"""Images that are shown at most."""

_COLUMNS = 6
_LONGEST = 24  # characters of a class name
_SIDE = 160  # pixels of an image on the page, at most
_SMALL = 96  # images of fewer pixels a side are magnified, and not smoothed
_PICTURES, _PAGES = (".png", ".pdf", ".svg"), (".html", ".htm")


def write_contact_sheet(
    path: Path, rows: Sequence[dict[str, object]], images: GivenImagesLoader, told: Sequence[str]
) -> None:
    """The first images with class and probability; marked: those below the rejection threshold.

    Args:
        path: of the sheet, .png, .pdf or .svg, or .html for one file that holds everything.
        rows: of `trainer.inference.predicted_rows.as_rows`.
        images: the rows' files as the network reads them.
        told: what else the page says above, lines.

    Raises:
        UserError: another ending.
    """
    check_ending(path)
    seen = f"Images as the network sees them: {images.in_words}."
    if path.suffix.lower() in _PAGES:
        write_text(path, _page(rows[: MOST["page"]], images, [*told, f"{seen}{_of(rows, 'page')}"]))
    else:
        write_bytes(path, _picture(path, rows[: MOST["picture"]], images, f"{seen}{_of(rows, 'picture')}"))


def check_ending(path: Path) -> None:
    """A UserError where no sheet can be written there."""
    if path.suffix.lower() not in (*_PICTURES, *_PAGES):
        raise UserError(f"--contact-sheet {path}: give a file that ends with {', '.join((*_PICTURES, _PAGES[0]))}")


def _of(rows: Sequence[object], kind: str) -> str:
    return f" The first {MOST[kind]} of {len(rows)}." if len(rows) > MOST[kind] else ""


def _pixels(images: GivenImagesLoader, count: int) -> Iterator[np.ndarray]:
    """The first images, one after the other: uint8 [S, S, 3]."""
    for sample_id in images.epoch_sample_ids(0)[:count]:
        yield np.asarray(images.images.read(sample_id[None]))[0].transpose(1, 2, 0)  # [3, S, S] → [S, S, 3]


def _picture(path: Path, rows: Sequence[dict[str, object]], images: GivenImagesLoader, below: str) -> bytes:
    lines = -(-len(rows) // _COLUMNS)
    figure = Figure(figsize=(2 * _COLUMNS, 2.4 * lines + 0.4), layout="constrained")
    for place, (row, pixels) in enumerate(zip(rows, _pixels(images, len(rows)), strict=True), start=1):
        axis = figure.add_subplot(lines, _COLUMNS, place)
        axis.axis("off")
        axis.imshow(pixels)
        rejected = bool(row.get("rejected"))
        name = drawable(str(row["class"]))
        name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        title = f"{'? ' if rejected else ''}{name}\n{_percent(row)} %"
        axis.set_title(title, fontsize=9, color="tab:red" if rejected else "black", parse_math=False)
    figure.supxlabel(below, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=100)
    return buffer.getvalue()


def _page(rows: Sequence[dict[str, object]], images: GivenImagesLoader, told: Sequence[str]) -> str:
    loader = FileSystemLoader([Path(__file__).parent, Path(report_page.__file__).parent])  # the report's style
    # names of classes and files come from anywhere: everything is escaped
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "contact_sheet.html.jinja"
    )
    shown = [_shown(row, pixels) for row, pixels in zip(rows, _pixels(images, len(rows)), strict=True)]
    html = template.render(
        title=f"Predicted classes of {len(rows)} images", told=told, images=shown, small=images.image_side < _SMALL
    )
    return html.encode("utf-8", "backslashreplace").decode() + "\n"  # names of files may be no UTF-8


def _shown(row: dict[str, object], pixels: np.ndarray) -> dict[str, Any]:
    """What the page says of an image of pixels [S, S, 3]."""
    picture, buffer = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    picture.thumbnail((_SIDE, _SIDE))
    picture.save(buffer, "JPEG", quality=85)
    file, rejected = str(row["image"]), bool(row.get("rejected"))
    sure = f"taken for {row['class']}, {_percent(row)} %"
    return {
        "source": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}",
        "side": picture.width,
        "alt": f"{Path(file).name}, {sure}{', below the threshold' if rejected else ''}",
        "name": row["class"],
        "percent": _percent(row),
        "rejected": rejected,
        "members": joined(row["set"]) if "set" in row else None,
        "file": file,
    }


def _percent(row: dict[str, object]) -> str:
    return f"{100 * float(str(row['probability'])):.0f}"

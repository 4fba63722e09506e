"""Images with their predicted classes on one page, to be looked at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from data_loader.datasets.decoding import read_image
from utils.errors import UserError
from utils.files.writing import write_bytes
from utils.reporting.plots import drawable

MOST = 60
_COLUMNS = 6
_LONGEST = 24  # characters of a class name
_ENDINGS = (".png", ".pdf", ".svg")


def write_contact_sheet(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """The first `MOST` images with class and probability; "?" and red: below the rejection threshold.

    Args:
        path: of the picture, .png, .pdf or .svg.
        rows: of `trainer.inference.predicted_rows.as_rows`.

    Raises:
        UserError: another ending.
    """
    check_ending(path)
    shown = rows[:MOST]
    lines = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(2 * _COLUMNS, 2.4 * lines), layout="constrained")
    for place, row in enumerate(shown, start=1):
        axis = figure.add_subplot(lines, _COLUMNS, place)
        axis.axis("off")
        axis.imshow(np.moveaxis(read_image(str(row["image"]), apply_exif=True).numpy(), 0, 2))
        rejected = bool(row.get("rejected"))
        name = drawable(str(row["class"]))
        name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        title = f"{'? ' if rejected else ''}{name}\n{100 * float(str(row['probability'])):.0f} %"
        axis.set_title(title, fontsize=9, color="tab:red" if rejected else "black", parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=100)
    write_bytes(path, buffer.getvalue())


def check_ending(path: Path) -> None:
    """A UserError where no picture can be written there."""
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(f"--contact-sheet {path}: give a file that ends with {', '.join(_ENDINGS)}")

"""A page's pictures as PNG: drawn, or taken from an earlier page where that one shows the same."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer.report.parts import Picture
from utils.files.reading import read_regular_file

_DPI = 180
_KEY = "Drawn from"  # of the text in a PNG that says what it shows
_ROOT = Path(__file__).parents[2]
_CODE = ("trainer/report/drawing.py", "trainer/report/pictures.py", "utils/reporting/plots.py", "model/intervals.py")
_PACKAGES = ("matplotlib", "numpy", "pillow")
_END = b"IEND\xaeB`\x82"  # of every PNG
_MOST_BYTES = 20_000_000


def drawn(picture: Picture) -> bytes:
    """A picture as PNG, which says what it was drawn from; whatever matplotlib's settings are, it looks the same."""
    import matplotlib  # noqa: PLC0415 - takes half a second, and most evaluations draw little

    buffer = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")  # of letters that the font hasn't got
        matplotlib.rcdefaults()
        picture.figure(picture.shown).savefig(buffer, format="png", dpi=_DPI, metadata={_KEY: _digest(picture)})
    return buffer.getvalue()


def kept(picture: Picture, folder: Path) -> bytes | None:
    """An earlier page's picture, from their folder, if it is what `drawn` would give; else, or if damaged, None."""
    try:
        png = read_regular_file(folder / f"{picture.name}.png", "picture", most_bytes=_MOST_BYTES)
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            image.verify()
    except Exception:  # a damaged image raises nearly anything
        return None
    return png if png.endswith(_END) and image.info.get(_KEY) == _digest(picture) else None


def _digest(picture: Picture) -> str:
    """SHA-256 of everything that a picture is made of: what it shows, and the code that draws it."""
    shown = json.dumps(picture.shown, default=_plain)
    return hashlib.sha256(f"{_drawing()} {picture.figure.__qualname__} {shown}".encode()).hexdigest()


@cache
def _drawing() -> str:
    code = hashlib.sha256(b"".join((_ROOT / path).read_bytes() for path in _CODE)).hexdigest()
    return " ".join([code, *map(version, _PACKAGES)])


def _plain(value: Any) -> Any:
    """What JSON has no words for, as what it has."""
    if is_dataclass(value):
        return vars(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__}: nothing that a picture shows")

"""Tables that another program has written, as CSV, or as Parquet where pandas reads it."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils.config.wording import shown
from utils.errors import UserError, reason_of
from utils.files.numpy_files import MOST_BYTES
from utils.files.reading import regular_file

_LONGEST_LINE = 10_000_000  # bytes of a header


class Table(NamedTuple):
    """Rows and columns.

    Attributes:
        cells: [rows, columns]: float64 where all are numbers, else text.
        names: of the columns; None: there was no header.
    """

    cells: np.ndarray
    names: list[str] | None


def read_table(path: Path, what: str, *, words: bool = False, known: Collection[str] = ()) -> Table:
    """A table by the ending of its file's name: `.parquet`, else CSV (commas, semicolons or tabs; UTF-8).

    A CSV's first line is its header where it has a cell that is neither a number nor `known`, and where it counts the
    columns from 0 or 1 above fractions. A first column whose header is empty, as pandas writes an index, is left out.

    Args:
        path: which file.
        what: it is, for messages: "file of logits".
        words: whether other cells than numbers are allowed.
        known: words that are cells and no header, names of classes for instance.

    Raises:
        UserError: in one line: no regular file, too large, no such table, or no rows.
    """
    regular_file(path, what, most_bytes=MOST_BYTES)
    try:
        table = _of_parquet(path) if path.suffix.lower() == ".parquet" else _of_csv(path, words=words, known=known)
    except ImportError:
        raise UserError(
            f"{path}: pandas reads Parquet with pyarrow, which is not installed: pip install pyarrow"
        ) from None
    except (ValueError, OSError, csv.Error) as error:  # among them pyarrow's own, and wrong UTF-8
        raise UserError(f"{path}: can't be read as a {what}: {reason_of(error)}") from None
    if not table.cells.size:
        raise UserError(f"{path}: is empty")
    return table


def _of_parquet(path: Path) -> Table:
    frame = pd.read_parquet(path)
    return _named(_numbers_or_text(frame), [str(name) for name in frame.columns])


def _of_csv(path: Path, *, words: bool, known: Collection[str]) -> Table:
    with path.open("rb") as file:
        start = file.readline(_LONGEST_LINE).decode("utf-8-sig")
    delimiter = max(",;\t", key=start.count)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter)
        first = next(lines, [])
        lines_of_header, second = lines.line_num, next(lines, [])
        header = first if _is_header(first, second, known) else None
        try:
            return _named(_numbers(path, delimiter, 0 if header is None else lines_of_header), header)
        except ValueError:
            if not words:
                raise
        rows = [row for row in ([first] if header is None else []) + [second, *lines] if row]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("the rows have different numbers of columns")
    return _named(np.array([[cell.strip() for cell in row] for row in rows]), header)


def _numbers(path: Path, delimiter: str, lines_of_header: int) -> np.ndarray:
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # no rows: we tell that
        return np.loadtxt(
            path,
            delimiter=delimiter,
            skiprows=lines_of_header,
            comments=None,
            quotechar='"',
            ndmin=2,
            encoding="utf-8-sig",
        )


def _is_header(cells: list[str], below: list[str], known: Collection[str]) -> bool:
    counted = ([str(place + first) for place in range(len(cells))] for first in (0, 1))
    if len(cells) > 1 and cells in counted and not all(cell.strip().isdecimal() for cell in below):
        return True  # numbers of classes; below integers they might be a row themselves: 0,1 is one of probabilities
    return any(cell not in known and not _is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers_or_text(frame: pd.DataFrame) -> np.ndarray:
    """Cells as float64, or as text where a column has others than numbers."""
    if all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes):
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return frame.astype(str).to_numpy(dtype=str)


def _named(cells: np.ndarray, names: list[str] | None) -> Table:
    if names is None:
        return Table(cells, None)
    if cells.size and len(names) != cells.shape[1]:
        raise ValueError(f"the header has {len(names)} columns and the rows have {cells.shape[1]}")
    if names[0] == "" and len(names) > 1 and cells.size:  # an index, as pandas writes it
        names, cells = names[1:], cells[:, 1:]
    if doubles := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"the column {shown(doubles[0])} stands twice")
    return Table(cells, [name.strip() for name in names])

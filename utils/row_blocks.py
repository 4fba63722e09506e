"""Large arrays a few rows at a time, so that what is computed on the way does not need their size again."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 1 << 20  # numbers at a time: 8 MB in float64


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """The rows of an array [rows, columns] in order, as slices of at most `BLOCK` numbers (or one row)."""
    together = max(1, BLOCK // max(columns, 1))
    for start in range(0, rows, together):
        yield slice(start, min(start + together, rows))

"""Plain aligned tables for the screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING = "–"


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals; "–" where there is none (an empty group)."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.2f}"


def decimal(value: float | None) -> str:
    """A number with three decimals; "–" where there is none."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.3f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows below a header, the first column flush left, the others flush right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])

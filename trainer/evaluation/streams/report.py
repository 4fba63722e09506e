"""A stream's scores as a table, as `stream.csv` and as a picture, `stream.png`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation.results import RAW
from trainer.evaluation.streams.schedule import StreamSchedule
from trainer.evaluation.streams.scores import bins
from utils.files.writing import csv_text, write_bytes, write_text
from utils.reporting.plots import curves_figure
from utils.reporting.tables import decimal, percent, table

STREAM_CSV, STREAM_PNG = "stream.csv", "stream.png"
_DOTS = 120


def stream_table(rows: Sequence[Mapping[str, Any]], arriving: StreamSchedule) -> str:
    """A line for each bin of time, and one for all: a column of accuracy for each prior (and kind of weights)."""
    estimated = [row for row in rows if "prior_l1" in row]
    several = {row["weights"] for row in rows} != {RAW}

    def title(row: Mapping[str, Any], name: str) -> str:
        return f"{row['weights']}: {name}" if several else name

    header = ["images", "distribution", *(title(row, f"{row['prior']} %") for row in rows)]
    header += [title(row, "prior L1") for row in estimated]
    lines = []
    for index, part in enumerate(bins(len(arriving.indices))):
        cells = [percent(row["accuracy_along"][index]) for row in rows]
        cells += [decimal(row["prior_l1_along"][index]) for row in estimated]
        lines.append([f"{part.start + 1}–{part.stop}", _origin(arriving, part), *cells])
    whole = [*(percent(row["accuracy"]) for row in rows), *(decimal(row["prior_l1"]) for row in estimated)]
    lines.append(["all", "", *whole])
    again = arriving.most_often
    below = (
        f"\nThe stream is longer than the test split allows: an image comes up to {again} times" if again > 1 else ""
    )
    return table(header, lines) + below


def write_stream(folder: Path, rows: Sequence[Mapping[str, Any]], arriving: StreamSchedule) -> list[Path]:
    """The stream's files in a run's folder; those of an earlier stream are replaced.

    Returns:
        the files written.

    Raises:
        UserError: the folder can't be written to.
    """
    write_text(folder / STREAM_CSV, _as_csv(rows, arriving))
    picture = io.BytesIO()
    _figure(rows, arriving).savefig(picture, format="png", dpi=_DOTS)
    write_bytes(folder / STREAM_PNG, picture.getvalue())
    return [folder / STREAM_CSV, folder / STREAM_PNG]


def _as_csv(rows: Sequence[Mapping[str, Any]], arriving: StreamSchedule) -> str:
    """A line for each bin and row."""
    lines = [
        {
            **{name: row[name] for name in ("checkpoint", "weights", "predictor", "prior")},
            "stream": arriving.name,
            "first_image": part.start + 1,
            "last_image": part.stop,
            "distribution": _origin(arriving, part),
            "accuracy": row["accuracy_along"][index],
            "prior_l1": row["prior_l1_along"][index] if "prior_l1" in row else None,
        }
        for row in rows
        for index, part in enumerate(bins(len(arriving.indices)))
    ]
    return csv_text(list(lines[0]), (line.values() for line in lines))


def _figure(rows: Sequence[Mapping[str, Any]], arriving: StreamSchedule) -> Any:
    several = {row["weights"] for row in rows} != {RAW}
    ends = np.cumsum(rows[0]["images_along"])
    curves = {
        f"{row['weights']}: {row['prior']}" if several else row["prior"]: [
            100 * accuracy for accuracy in row["accuracy_along"]
        ]
        for row in rows
    }
    return curves_figure(
        [0, *ends.tolist()], curves, title=arriving.name, horizontal="images so far", vertical="accuracy %"
    )


def _origin(arriving: StreamSchedule, part: slice) -> str:
    """Where the images of a bin are from: a distribution, or several with their shares."""
    shares = arriving.shares[part].mean(axis=0)
    present = [(name, share) for name, share in zip(arriving.names, shares, strict=True) if share > 0]
    return present[0][0] if len(present) == 1 else " + ".join(f"{name} {100 * share:.0f} %" for name, share in present)

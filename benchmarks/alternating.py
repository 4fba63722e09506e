"""Ways of doing the same, timed by turns in one process, and what is told of them.

A shared machine's speed changes within a minute: only figures that were taken alternately can be compared. The speed of
matrix products is measured between the rounds, so that a rate can be set beside what the machine could do just then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import QUIET, machine, matrix_rate
from utils.files.writing import write_text
from utils.reporting.tables import table

PLAIN = "plain"


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Args:
        title: of what.
        unit: of the rates: "images/s".
        amount: how much of it one round does.
        seconds: of each way, one for each round.
        matrix_rates: GFLOP/s of matrix products, before each round.
        quiet: of the threads' time, what the process got in these products; the least of the rounds.
    """

    title: str
    unit: str
    amount: float
    seconds: Mapping[str, list[float]]
    matrix_rates: list[float]
    quiet: float

    def rate(self, way: str) -> float:
        """Median of the rounds."""
        return self.amount / float(np.median(self.seconds[way]))

    def ratios(self, way: str) -> np.ndarray:
        """How many times as fast as the plain way, round by round."""
        return np.array(self.seconds[PLAIN]) / np.array(self.seconds[way])

    def as_json(self) -> dict[str, Any]:
        """For a result file."""
        return {
            "title": self.title,
            "unit": self.unit,
            "rates": {way: self.rate(way) for way in self.seconds},
            "ratio": {way: float(np.median(self.ratios(way))) for way in self.seconds if way != PLAIN},
            "ratio_range": {
                way: [float(self.ratios(way).min()), float(self.ratios(way).max())]
                for way in self.seconds
                if way != PLAIN
            },
            "matrix_gflops": float(np.median(self.matrix_rates)),
            "share_of_threads_time": self.quiet,
            "seconds": dict(self.seconds),
        }


def by_turns(
    title: str, ways: Mapping[str, Callable[[], object]], *, amount: float, unit: str, rounds: int = 5
) -> Comparison:
    """Time each way once a round, after a round that doesn't count.

    Args:
        title: for the table.
        ways: name → what is timed; `PLAIN` is what the others are compared with.
        amount: how much of `unit` (without the "/s") each of them does.
        unit: of the rates.
        rounds: ≥ 1.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rates, shares = [], []
    for round_ in range(rounds + 1):
        rate, share = matrix_rate()
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
        if round_:
            rates.append(rate)
            shares.append(share)
    return Comparison(title, unit, amount, seconds, rates, min(shares))


def report(comparisons: list[Comparison]) -> str:
    """A table, and a warning where the machine was busy."""
    lines = [
        [
            found.title,
            way,
            f"{found.rate(way):.3g}",
            found.unit,
            f"{np.median(found.ratios(way)):.2f}",
            f"{found.ratios(way).min():.2f}–{found.ratios(way).max():.2f}",
        ]
        for found in comparisons
        for way in found.seconds
    ]
    told = table(["what", "way", "rate", "unit", "ratio", "range"], lines)
    peak = float(np.median([rate for found in comparisons for rate in found.matrix_rates]))
    quiet = min(found.quiet for found in comparisons)
    busy = "" if quiet >= QUIET else f"\nwarning: a busy machine: {100 * quiet:.0f} % of the threads' time was ours"
    return f"{told}\nmatrix products meanwhile: {peak:.0f} GFLOP/s (float32){busy}"


def finish(comparisons: list[Comparison], out: Path | None) -> None:
    """Print the table and write the figures."""
    about = machine()
    units = ", ".join(about["vector_units"])
    print(f"{report(comparisons)}\n{about['processor']} ({units}), {about['threads']} threads")
    if out is not None:
        content = {"machine": about, "results": [found.as_json() for found in comparisons]}
        write_text(out, json.dumps(content, indent=1) + "\n")

"""Ways of doing the same, timed by turns in one process, and what is told of them.

A shared machine's speed changes within a minute: only figures that were taken alternately can be compared. The speed of
matrix products is measured between the rounds, so that a rate can be set beside what the machine could do just then.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import QUIET, machine, matrix_rate
from utils.files.writing import write_text
from utils.reporting.tables import table

PLAIN, OURS, IN_BF16 = "plain", "ours", "ours, bf16"


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Args:
        title: of what.
        unit: of the rates: "images/s".
        amount: how much of it one round does.
        seconds: of each way, one for each round.
        matrix_rates: GFLOP/s of matrix products before each round, in float32 and where `IN_BF16` is a way in bfloat16.
        quiet: of the threads' time, what the process got in these products; the least of the rounds.
        gflop: that a unit of the amount costs; None: it isn't told what share of the matrix products' speed a way has.
    """

    title: str
    unit: str
    amount: float
    seconds: Mapping[str, list[float]]
    matrix_rates: Mapping[torch.dtype, list[float]]
    quiet: float
    gflop: float | None = None

    def rate(self, way: str) -> float:
        """Median of the rounds."""
        return self.amount / float(np.median(self.seconds[way]))

    def ratios(self, way: str) -> np.ndarray:
        """How many times as fast as the plain way, round by round."""
        return np.array(self.seconds[PLAIN]) / np.array(self.seconds[way])

    def share_of_peak(self, way: str) -> float | None:
        """Of the speed of matrix products in its precision, that of a way."""
        if self.gflop is None or way not in {PLAIN, OURS, IN_BF16}:
            return None
        dtype = torch.bfloat16 if way == IN_BF16 else torch.float32
        return self.rate(way) * self.gflop / float(np.median(self.matrix_rates[dtype]))

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
            "matrix_gflops": {_name(dtype): float(np.median(rates)) for dtype, rates in self.matrix_rates.items()},
            "share_of_matrix_peak": {way: self.share_of_peak(way) for way in self.seconds},
            "share_of_threads_time": self.quiet,
            "seconds": dict(self.seconds),
        }


def by_turns(
    title: str,
    ways: Mapping[str, Callable[[], object]],
    *,
    amount: float,
    unit: str,
    rounds: int = 5,
    gflop: float | None = None,
) -> Comparison:
    """Time each way once a round, after a round that doesn't count.

    Args:
        title: for the table.
        ways: name → what is timed; `PLAIN` is what the others are compared with.
        amount: how much of `unit` (without the "/s") each of them does.
        unit: of the rates.
        rounds: ≥ 1.
        gflop: that one of `unit` costs, where it is to be told what share of the matrix products' speed a way has.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    dtypes = [torch.float32, *([torch.bfloat16] if IN_BF16 in ways else [])]
    rates: dict[torch.dtype, list[float]] = {dtype: [] for dtype in dtypes}
    shares = []
    for round_ in range(rounds + 1):
        found = {dtype: matrix_rate(dtype) for dtype in dtypes}
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
        if round_:
            for dtype, (rate, share) in found.items():
                rates[dtype].append(rate)
                shares.append(share)
    return Comparison(title, unit, amount, seconds, rates, min(shares), gflop)


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
            _percent(found.share_of_peak(way)),
        ]
        for found in comparisons
        for way in found.seconds
    ]
    told = table(["what", "way", "rate", "unit", "ratio", "range", "of peak"], lines)
    peaks: dict[torch.dtype, list[float]] = defaultdict(list)
    for found in comparisons:
        for dtype, rates in found.matrix_rates.items():
            peaks[dtype] += rates
    peak = ", ".join(f"{np.median(rates):.0f} in {_name(dtype)}" for dtype, rates in peaks.items())
    quiet = min(found.quiet for found in comparisons)
    busy = "" if quiet >= QUIET else f"\nwarning: a busy machine: {100 * quiet:.0f} % of the threads' time was ours"
    return f"{told}\nmatrix products meanwhile, GFLOP/s: {peak}{busy}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def finish(comparisons: list[Comparison], out: Path | None) -> None:
    """Print the table and write the figures."""
    about = machine()
    units = ", ".join(about["vector_units"])
    print(f"{report(comparisons)}\n{about['processor']} ({units}), {about['threads']} threads")
    if out is not None:
        content = {"machine": about, "results": [found.as_json() for found in comparisons]}
        write_text(out, json.dumps(content, indent=1) + "\n")

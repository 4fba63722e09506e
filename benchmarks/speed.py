"""How fast this project is beside the plain way of doing the same: all comparisons in one table.

    python -m benchmarks.speed --out benchmarks/results/speed_cpu.json

Training step, training epoch, sweep and start-up, each by turns with the plain way (`benchmarks/plain.py`) in this one
process. Each can be run alone: `python -m benchmarks.train_step`, `end_to_end`, `sweep`, `startup`.
"""

from __future__ import annotations

from benchmarks import end_to_end, startup, sweep, train_step
from benchmarks.bench_flags import run_benchmark

if __name__ == "__main__":
    run_benchmark(
        __doc__,
        {
            "training step": train_step.measured,
            "training epoch": end_to_end.measured,
            "sweep": sweep.measured,
            "start-up": startup.measured,
        },
    )

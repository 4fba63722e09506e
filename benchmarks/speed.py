"""How fast this project is beside the plain way of doing the same: all comparisons in one table.

    python -m benchmarks.speed --out benchmarks/results/speed_cpu.json

Training step, training epoch, loading of image files, sweep and start-up, each by turns with the plain way (as in
`benchmarks/plain.py`) in this one process. Each can be run alone: `python -m benchmarks.train_step`, `end_to_end`,
`loader`, `sweep`, `startup`.
"""

from __future__ import annotations

from benchmarks import end_to_end, loader, startup, sweep, train_step
from benchmarks.bench_flags import run_benchmark


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(
        __doc__,
        {
            "training step": train_step.measured,
            "training epoch": end_to_end.measured,
            **loader.MEASURED,
            "sweep": sweep.measured,
            "start-up": startup.measured,
        },
    )


if __name__ == "__main__":
    main()

"""Give the commands odd configurations, checkpoints and files, and count what they make of them.

    python -m benchmarks.odd_input_campaign --configs 2000 --checkpoints 400 --files 200 --out report.json
    python -m benchmarks.odd_input_campaign --only checkpoint:17 --seed 3

Each case is made by a generator, which says from the documentation whether its input is legal. A legal one must end
with exit code 0, an illegal one with a line on standard error and the exit code of a refusal. Exit code 1 where a case
ends in a traceback, takes longer than `--seconds`, or is decided wrongly.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.odd_input_campaign.cases import FAULTS, kind_of_fault
from benchmarks.odd_input_campaign.commands import import_everything
from benchmarks.odd_input_campaign.servers import Generator, run_case, serve

KINDS = ("config", "checkpoint", "file")


def generators(material: Path) -> dict[str, Generator]:
    """Kind → its generator; `material` is the folder of trained runs."""
    from benchmarks.odd_input_campaign import checkpoints, configs, files  # noqa: PLC0415 - they import torch

    return {
        "config": configs.generate,
        "checkpoint": partial(checkpoints.generate, material),
        "file": partial(files.generate, material),
    }


def run_kind(
    generator: Generator, kind: str, count: int, arguments: argparse.Namespace, place: Path
) -> list[dict[str, Any]]:
    """Run a kind's cases in several servers; those that hang are tried once more, when the others are done."""
    servers, workers, seconds = [], arguments.workers, arguments.seconds
    for worker in range(workers):
        process = os.fork()
        if not process:
            seeds = [(index, f"{arguments.seed}:{kind}:{index}") for index in range(worker, count, workers)]
            serve(generator, seeds, place / f"{kind}{worker}.jsonl", seconds=seconds)
        servers.append(process)
    ended = [os.waitpid(process, 0)[1] for process in servers]
    if any(ended):
        raise SystemExit(f"a server of {kind} cases has failed")
    files = [place / f"{kind}{worker}.jsonl" for worker in range(workers)]
    rows = sorted((json.loads(line) for file in files for line in file.open()), key=lambda row: row["index"])
    for row in rows:
        if row["fault"].startswith("hang"):
            row.update(run_case(generator, f"{arguments.seed}:{kind}:{row['index']}", seconds=seconds))
    return [{"kind": kind, **row} for row in rows]


def summary(rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The figures of a kind."""
    faults = Counter(kind_of_fault(row["fault"]) for row in rows)
    verdicts = Counter({True: "legal", False: "illegal", None: "open"}[row["legal"]] for row in rows)
    longest = max((row["seconds"] for row in rows), default=0.0)
    return {
        "cases": len(rows),
        **{name: verdicts[name] for name in ("legal", "illegal", "open")},
        **{name: faults[name] for name in FAULTS},
        "seconds": round(seconds, 1),
        "longest": longest,
    }


def print_table(figures: dict[str, dict[str, Any]]) -> None:
    """A line for each kind."""
    columns = list(next(iter(figures.values())))
    print(f"{'kind':<10}" + "".join(f"  {name}" for name in columns))
    for kind, row in figures.items():
        print(f"{kind:<10}" + "".join(f"  {row[name]:>{len(name)}}" for name in columns))


def print_fault(row: dict[str, Any]) -> None:
    """What is wrong with a case, in a few lines."""
    print(f"{row['kind']}:{row['index']}  {row['fault']}  ({row['seconds']} s)\n    {row['what']}")
    print(f"    {row['command']} {' '.join(row['flags'])!r:.200}")
    for line in [line for line in row["stderr"].splitlines() if line.strip()][-2:]:
        print(f"    | {line[:300]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.odd_input_campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for kind, count in zip(KINDS, (2000, 400, 200), strict=True):
        parser.add_argument(f"--{kind}s", type=int, default=count, metavar="N", help=f"cases (default {count})")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="another one makes other cases (default 1)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="servers side by side (default 2)")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="a case that takes longer hangs (20)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report here, as JSON")
    parser.add_argument("--only", metavar="KIND:INDEX", help="run one case again, show all of it, and keep its folder")
    return parser


def main() -> None:
    arguments = _parser().parse_args()
    import_everything()
    place = Path(tempfile.mkdtemp(prefix="odd-input-campaign-"))
    try:
        sys.exit(_run(arguments, place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(arguments: argparse.Namespace, place: Path) -> int:
    from benchmarks.odd_input_campaign.material import train_runs  # noqa: PLC0415

    train_runs(place / "material")
    makers = generators(place / "material")
    if arguments.only:
        kind, _, index = arguments.only.partition(":")
        row = run_case(makers[kind], f"{arguments.seed}:{kind}:{index}", seconds=arguments.seconds, keep=True)
        print(json.dumps(row, indent=1, ensure_ascii=False).replace("\\n", "\n    "))
        return int(bool(row["fault"]))
    machine = f"{platform.platform()}, {os.cpu_count()} cores"
    report: dict[str, Any] = {"machine": machine, "seed": arguments.seed, "figures": {}, "cases": []}
    for kind in KINDS:
        begin, count = time.monotonic(), getattr(arguments, f"{kind}s")
        rows = run_kind(makers[kind], kind, count, arguments, place)
        report["figures"][kind] = summary(rows, time.monotonic() - begin)
        report["cases"] += rows
        for row in rows:
            if row["fault"]:
                print_fault(row)
        print(f"{kind}: {report['figures'][kind]}", flush=True)
    print_table(report["figures"])
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")
    return int(any(row["fault"] for row in report["cases"]))


if __name__ == "__main__":
    main()

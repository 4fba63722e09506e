"""Kill evaluations of a small digits run at random moments; its results are whole each time, and no row is lost.

Each trial evaluates the run on other test distributions and sends the process SIGKILL: in half of the trials at a
random moment, in the others right after it has begun to write its results. `results.json` must then parse and hold
every row of before. The same evaluation is then left alone: every row must be there, `results.csv` must hold the same
rows, and no half-written file may be left.

    python benchmarks/evaluation_kills.py --kills 20
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.machine import processor_name  # noqa: E402

CONFIG = ROOT / "configs/digits/config_digits_ir40_bs-experts.json"
CHECKPOINT = "checkpoint-epoch1"
LOCKS = {".lock", ".writing.lock"}  # which stay
_PATIENCE = 600  # seconds for a process

Row = dict[str, Any]


class Evaluated:
    """The folder of a run, as its evaluations leave it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, ratio: int, *, afresh: bool) -> subprocess.Popen[bytes]:
        """Evaluate on two shifted test sets; `afresh` runs the network, else its stored predictions are used."""
        if afresh:
            (self.folder / f"{CHECKPOINT}.predictions.npz").unlink(missing_ok=True)
        command = [sys.executable, str(ROOT / "test_all_cifar.py"), "-r", str(self.folder / f"{CHECKPOINT}.pth")]
        command += ["--distributions", f"forward{ratio}", f"backward{ratio}"]
        with (self.folder.parent / "output.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def rows(self) -> list[Row]:
        """What `results.json` holds; it must parse."""
        path = self.folder / "results.json"
        rows: list[Row] = json.loads(path.read_text(encoding="utf8"))["results"] if path.exists() else []
        return rows

    def is_written(self, before: int) -> bool:
        """Whether results are being written, or `results.json` is another one than `before` (a time in ns)."""
        return any(self.folder.glob(".results.*")) or self.changed() != before

    def changed(self) -> int:
        """When `results.json` was written, ns; 0 where there is none."""
        path = self.folder / "results.json"
        return path.stat().st_mtime_ns if path.exists() else 0

    def leftovers(self) -> list[str]:
        """Half-written files."""
        return [path.name for path in self.folder.glob(".*") if path.name not in LOCKS]

    def csv_differences(self) -> list[str]:
        """Where `results.csv` holds something else than `results.json`."""
        with (self.folder / "results.csv").open(encoding="utf8", newline="") as file:
            lines = list(csv.DictReader(file))
        rows = self.rows()
        if len(lines) != len(rows):
            return [f"results.csv has {len(lines)} rows, results.json {len(rows)}"]
        return [
            f"row {number}, {name}: {line.get(name)!r} instead of {value!r}"
            for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1)
            for name, value in row.items()
            if not isinstance(value, list) and not _same(line.get(name), value)
        ]


def _same(text: str | None, value: Any) -> bool:
    if isinstance(value, float):
        return bool(text) and float(text or "nan") == value
    return text == ("" if value is None else str(value))


def lost(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """Rows of before that are not there any more, or not as they were."""
    return [f"lost: {_question(row)}" for row in before if row not in after]


def _question(row: Mapping[str, Any]) -> str:
    return f"{row['checkpoint']}, {row['distribution']}, {row['predictor']}"


def train(folder: Path) -> Evaluated:
    command = [sys.executable, str(ROOT / "train.py"), "-c", str(CONFIG), "--epochs", "1", "--save_dir", str(folder)]
    command += ["--set", "data_loader.args.max_per_class=12"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=_PATIENCE)
    (checkpoint,) = folder.glob(f"models/*/*/{CHECKPOINT}.pth")
    return Evaluated(checkpoint.parent)


def finish(run: Evaluated, ratio: int) -> float:
    """Let an evaluation end by itself; the seconds it took."""
    begin = time.monotonic()
    code = run.start(ratio, afresh=False).wait(timeout=_PATIENCE)
    if code != 0:
        raise SystemExit(
            f"an evaluation ended with exit code {code}:\n{(run.folder.parent / 'output.log').read_text()}"
        )
    return time.monotonic() - begin


def kill(run: Evaluated, ratio: int, *, longest: float, while_writing: bool, afresh: bool) -> str | None:
    """Start an evaluation and SIGKILL it; says when, None where it ended first."""
    written, delay = run.changed(), random.uniform(0, longest)
    process = run.start(ratio, afresh=afresh)
    begin = time.monotonic()
    while process.poll() is None:
        waited = time.monotonic() - begin
        if run.is_written(written) if while_writing else waited >= delay:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"{'while writing results' if while_writing else 'at random'}, {waited:.2f} s after the start"
        time.sleep(0.0002)
    return None


def trial(run: Evaluated, number: int, *, longest: float) -> dict[str, Any]:
    """Kill one evaluation, look at the results, repeat it and look again."""
    before, moment, ratio = run.rows(), None, number + 2
    while moment is None:  # an evaluation that ends before the moment comes is no trial: the next distribution then
        moment = kill(run, ratio, longest=longest, while_writing=number % 2 == 1, afresh=number % 4 < 2)
        if moment is None:
            before, ratio = run.rows(), ratio + 1000
    killed = run.rows()
    faults = lost(before, killed)
    kept, left = len(killed) > len(before), run.leftovers()
    finish(run, ratio)
    faults += lost(killed, run.rows()) + run.csv_differences() + [f"left over: {name}" for name in run.leftovers()]
    wanted = {f"forward{ratio}", f"backward{ratio}"}
    if not wanted <= {row["distribution"] for row in run.rows()}:
        faults.append(f"not all rows of {sorted(wanted)} are there")
    return {"moment": moment, "rows_before": len(before), "kept": kept, "half_written": left, "faults": faults}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="trials, one SIGKILL each (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--out", type=Path, help="write the outcome here, as JSON")
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory(prefix="evaluation-kills-") as folder:
        run = train(Path(folder))
        longest = finish(run, 2)
        trials = []
        for number in range(1, options.kills + 1):
            trials.append(outcome := trial(run, number, longest=longest))
            told = "; ".join(outcome["faults"]) or "whole"
            print(f"{number}/{options.kills}  killed {outcome['moment']}: {told}", flush=True)
    whole = sum(not outcome["faults"] for outcome in trials)
    print(f"{whole}/{options.kills}")
    if options.out:
        facts = {"processor": processor_name(), "cores": os.cpu_count(), "whole": whole, "kills": options.kills}
        options.out.write_text(json.dumps({**facts, "seconds": longest, "trials": trials}, indent=1) + "\n")
    sys.exit(0 if whole == options.kills else 1)


if __name__ == "__main__":
    main()

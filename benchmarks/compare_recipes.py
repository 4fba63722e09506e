"""Train several recipes with the same seeds and the same budget, and tabulate what they reach on the uniform test.

Every row is `python train.py -c CONFIG FLAGS --seed S` followed by `python test.py -r CHECKPOINT`, mean ± standard
deviation over the seeds.

    python benchmarks/compare_recipes.py digits --seeds 1 2 3
    python benchmarks/compare_recipes.py fashion --seeds 1 2 3 --epochs 12 --data_dir /usr/share/datasets/fashion-mnist
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils.files.provenance import process_facts  # noqa: E402
from utils.reporting.tables import table  # noqa: E402

COLUMNS = {"balanced_accuracy": "balanced %", "many": "many %", "medium": "medium %", "few": "few %", "ece": "ECE %"}


@dataclass(frozen=True)
class Row:
    """A recipe and what it is called in the table."""

    title: str
    config: str
    flags: tuple[str, ...] = ()


def comparison(folder: str, name: str) -> list[Row]:
    config = f"configs/{folder}/config_{name}_{{}}.json"
    return [
        Row("cross-entropy, 1 expert", config.format("ce")),
        Row(
            "cross-entropy, 1 expert, mixup", config.format("ce"), ("--combiner_type", "mixup", "--mixup_alpha", "0.4")
        ),
        Row("BalPoE, 3 experts, no mixup", config.format("bs-experts"), ("--combiner_type", "default")),
        Row("BalPoE, 3 experts, mixup", config.format("bs-experts")),
        Row("BalPoE, 3 experts, mixup, bf16", config.format("bs-experts"), ("--precision", "bf16")),
    ]


COMPARISONS = {
    "digits": (comparison("digits", "digits_ir40"), ()),
    "fashion": (
        comparison("fashion_mnist", "fashion_mnist_ir100"),
        ("--set", "data_loader.args.max_per_class=1000"),
    ),
}


def call(*command: str) -> None:
    """Run one of the scripts; its failure ends the comparison."""
    answer = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {answer.returncode}\n{answer.stderr}")


def run(row: Row, seed: int, flags: list[str], save_dir: Path) -> tuple[dict[str, float], float]:
    """Train and test once; the ensemble's scores and the seconds of training."""
    folder = save_dir / f"{row.title}-{seed}".replace(" ", "_")
    begin = time.monotonic()
    call("train.py", "-c", row.config, "--seed", str(seed), "--save_dir", str(folder), *row.flags, *flags)
    seconds = time.monotonic() - begin
    (last,) = folder.glob("models/*/*/checkpoint-epoch*.pth")
    call("test.py", "-r", str(last))
    (results,) = folder.glob("models/*/*/results.json")
    rows = json.loads(results.read_text())["results"]
    return next(row for row in rows if row["predictor"] == "ensemble"), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=COMPARISONS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data_dir", help="folder of the data set, where it needs one")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's; the decays move along")
    parser.add_argument("--flags", default="", help="further flags of train.py, for every row")
    parser.add_argument("--out", type=Path, help="write the outcome here, as JSON")
    options = parser.parse_args()
    rows, extra = COMPARISONS[options.which]
    flags = [*extra, *(["--data_dir", options.data_dir] if options.data_dir else []), *options.flags.split()]
    if options.epochs:
        decays = ("--step1", str(round(0.8 * options.epochs)), "--step2", str(round(0.9 * options.epochs)))
        flags += ["--epochs", str(options.epochs), "--save_period", str(options.epochs), *decays]
    outcome, lines = [], []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            runs = [run(row, seed, flags, Path(folder)) for seed in options.seeds]
            outcome.append({"title": row.title, "config": row.config, "flags": [*row.flags, *flags]})
            outcome[-1] |= {name: [scores[name] for scores, _ in runs] for name in COLUMNS}
            outcome[-1]["train_seconds"] = [round(seconds, 1) for _, seconds in runs]
            values = [100 * np.array(outcome[-1][name], float) for name in COLUMNS]
            lines.append([row.title, *(f"{v.mean():.1f} ± {v.std(ddof=1) if len(v) > 1 else 0:.1f}" for v in values)])
            print(f"{row.title}: {lines[-1][1:]}, {outcome[-1]['train_seconds']} s", file=sys.stderr, flush=True)
    machine = f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}"
    print(table(["recipe", *COLUMNS.values()], lines))
    print(f"\nseeds {options.seeds}; {machine}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        commit = process_facts(torch.device("cpu"))["commit"]
        content = {"comparison": options.which, "seeds": options.seeds, "machine": machine, "commit": commit}
        content["rows"] = outcome
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

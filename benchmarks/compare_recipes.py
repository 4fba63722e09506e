"""Train several recipes with the same seeds and the same budget, and tabulate what they reach on the uniform test.

Every row is `python train.py -c CONFIG FLAGS --seed S` followed by `python test.py -r CHECKPOINT`, mean ± standard
deviation over the seeds. A method that averages weights has a row for the raw and one for the averaged ones. What to
compare is one of the lists below, or any configurations and folders of runs (whose results are read, not made):

    python benchmarks/compare_recipes.py digits --seeds 1 2 3
    python benchmarks/compare_recipes.py fashion --seeds 1 2 3 --epochs 12 --data_dir /usr/share/datasets/fashion-mnist
    python benchmarks/compare_recipes.py configs/digits/config_digits_ir40_sam.json saved/digits/models/NAME
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils.files.provenance import process_facts  # noqa: E402
from utils.reporting.tables import table  # noqa: E402

COLUMNS = {"balanced_accuracy": "balanced %", "many": "many %", "medium": "medium %", "few": "few %", "ece": "ECE %"}


@dataclass(frozen=True)
class Row:
    """A recipe and what it is called in the table.

    Args:
        title: its name.
        config: its file, from the repository's root; "" where runs are read.
        flags: of train.py.
        first_stage: title of the row whose checkpoint of the same seed it starts from; "": from new weights.
        runs: folders of finished runs, whose results are read.
    """

    title: str
    config: str = ""
    flags: tuple[str, ...] = ()
    first_stage: str = ""
    runs: tuple[Path, ...] = ()


def comparison(folder: str, name: str, *, methods: bool = False) -> list[Row]:
    config = f"configs/{folder}/config_{name}_{{}}.json"
    single, experts = "cross-entropy, 1 expert", "BalPoE, 3 experts, mixup"
    rows = [
        Row(single, config.format("ce")),
        Row(f"{single}, mixup", config.format("ce"), ("--combiner_type", "mixup", "--mixup_alpha", "0.4")),
        Row("BalPoE, 3 experts, no mixup", config.format("bs-experts"), ("--combiner_type", "default")),
        Row(experts, config.format("bs-experts")),
        Row(f"{experts}, bf16", config.format("bs-experts"), ("--precision", "bf16")),
    ]
    if methods:
        rows += [
            Row(f"{experts}, EMA", config.format("ema")),
            Row(f"{experts}, SWA", config.format("swa")),
            Row(f"{experts}, SAM", config.format("sam")),
            Row(f"{single}, then cRT", config.format("crt"), first_stage=single),
            Row(f"{single}, then LWS", config.format("lws"), first_stage=single),
        ]
    return rows


COMPARISONS = {
    "digits": (comparison("digits", "digits_ir40", methods=True), ()),
    "fashion": (
        comparison("fashion_mnist", "fashion_mnist_ir100"),
        ("--set", "data_loader.args.max_per_class=1000"),
    ),
}


@dataclass
class Outcome:
    """What a row's runs have reached: weights' name → score → one value a seed."""

    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    train_seconds: list[float] = field(default_factory=list)

    def add(self, folder: Path, seconds: float | None = None) -> None:
        """Enter the uniform test of the last checkpoint that was evaluated in a run's folder."""
        rows = json.loads((folder / "results.json").read_text())["results"]
        rows = [row for row in rows if (row["distribution"], row["predictor"]) == ("uniform", "ensemble")]
        for row in rows:
            if row["checkpoint"] == rows[-1]["checkpoint"] and row.get("prior", "none") == "none":
                by_score = self.scores.setdefault(row.get("weights", "raw"), {name: [] for name in COLUMNS})
                for name in COLUMNS:
                    by_score[name].append(row[name])
        if seconds is not None:
            self.train_seconds.append(round(seconds, 1))


def call(*command: str) -> None:
    """Run one of the scripts; its failure ends the comparison."""
    ended = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {ended.returncode}\n{ended.stderr}")


def last_checkpoint(save_dir: Path) -> Path:
    found = save_dir.glob("models/*/*/checkpoint-epoch*.pth")
    return max(found, key=lambda path: int(path.stem.rpartition("epoch")[2]))


def train_and_test(row: Row, seed: int, flags: list[str], folder: Path, first_stage: Path | None) -> float:
    """Train and test once below `folder`; the seconds of training."""
    start = ["--initialise", str(first_stage)] if first_stage else []
    begin = time.monotonic()
    call("train.py", "-c", row.config, "--seed", str(seed), "--save_dir", str(folder), *start, *row.flags, *flags)
    seconds = time.monotonic() - begin
    call("test.py", "-r", str(last_checkpoint(folder)))
    return seconds


def lines_of(row: Row, outcome: Outcome) -> list[list[str]]:
    """A row of the table for each of the weights."""
    lines = []
    for weights, by_score in outcome.scores.items():
        values = [100 * np.array([np.nan if v is None else v for v in by_score[name]], float) for name in COLUMNS]
        cells = [f"{v.mean():.1f} ± {v.std(ddof=1) if len(v) > 1 else 0:.1f}" for v in values]
        lines.append([row.title if weights == "raw" else f"{row.title}: {weights} weights", *cells])
    return lines


def rows_of(names: list[str]) -> tuple[list[Row], tuple[str, ...]]:
    """A comparison by its name, or configurations and folders of runs."""
    if len(names) == 1 and names[0] in COMPARISONS:
        rows, flags = COMPARISONS[names[0]]
        return rows, flags
    rows = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            runs = tuple(sorted(found.parent for found in path.rglob("results.json")))
            if not runs:
                raise SystemExit(f"{name}: no run in it has been evaluated (no results.json)")
            rows.append(Row(name, runs=runs))
        elif path.is_file():
            rows.append(Row(path.stem.removeprefix("config_"), str(path.resolve())))
        else:
            raise SystemExit(f"{name}: neither {', '.join(COMPARISONS)}, nor a configuration, nor a folder of runs")
    return rows, ()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", help=f"{', '.join(COMPARISONS)}; or configurations and folders of runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data_dir", help="folder of the data set, where it needs one")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's; the decays move along")
    parser.add_argument("--flags", default="", help="further flags of train.py, for every row")
    parser.add_argument("--only", nargs="+", help="rows of these titles, and the first stages that they need")
    parser.add_argument("--out", type=Path, help="write the outcome here, as JSON")
    return parser.parse_args()


def main() -> None:
    options = parse()
    rows, extra = rows_of(options.what)
    if options.only:
        chosen = {*options.only, *(row.first_stage for row in rows if row.title in options.only)}
        rows = [row for row in rows if row.title in chosen]
    flags = [*extra, *(["--data_dir", options.data_dir] if options.data_dir else []), *options.flags.split()]
    if options.epochs:
        decays = ("--step1", str(round(0.8 * options.epochs)), "--step2", str(round(0.9 * options.epochs)))
        flags += ["--epochs", str(options.epochs), "--save_period", str(options.epochs), *decays]
    outcomes: list[dict[str, Any]] = []
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, row in enumerate(rows):
            outcome = Outcome()
            for run in row.runs:
                outcome.add(run)
            for seed in options.seeds if row.config else []:
                folders = {other.title: Path(temporary) / f"{place}-{seed}" for place, other in enumerate(rows)}
                folder = Path(temporary) / f"{number}-{seed}"
                first_stage = last_checkpoint(folders[row.first_stage]) if row.first_stage else None
                seconds = train_and_test(row, seed, flags, folder, first_stage)
                outcome.add(last_checkpoint(folder).parent, seconds)
            described = {"title": row.title, "config": row.config, "flags": [*row.flags, *flags]}
            outcomes.append({**described, "scores": outcome.scores, "train_seconds": outcome.train_seconds})
            lines += (new := lines_of(row, outcome))
            print(f"{new}, {outcome.train_seconds} s", file=sys.stderr, flush=True)
    machine = f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}"
    print(table(["recipe", *COLUMNS.values()], lines))
    print(f"\nseeds {options.seeds}; {machine}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        commit = process_facts(torch.device("cpu"))["commit"]
        content = {"comparison": options.what, "seeds": options.seeds, "machine": machine, "commit": commit}
        options.out.write_text(json.dumps({**content, "rows": outcomes}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""How much of what a known test prior brings do estimates of it bring? On trained runs, seed for seed.

For every checkpoint: the forward–backward ladder, five shuffled tails, and five draws of each of three Dirichlet
distributions; top-1 and ECE of the ensemble as it is, with the known prior and with each estimate. Printed are means
over the seeds, the part of the gap between none and known that is closed, and paired 95 % intervals (t over seeds) of
the gain over none.

    python -m benchmarks.unknown_priors saved/fashion/models/bs*/*/checkpoint-epoch12.pth --out FILE

`--sade` shows SADE's test-time weights of the experts besides, without a correction. Runs that held images out
(data_loader.args.validation_split) let the estimators use them, unless `--without-held-out`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.machine import processor_name
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.opened_run import TestRun, open_run
from trainer.evaluation.presets import SWEEPS, Preset
from trainer.evaluation.priors import PRIORS
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.results import RAW
from utils.config.json_files import read_configuration
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.distributed.environment import launch_environment
from utils.errors import UserError, run_main
from utils.files.writing import write_text
from utils.reporting.tables import table

DRAWS = range(1, 6)
ALPHAS = ("0.1", "1", "10")
RANDOM = [f"shuffled50-{seed}" for seed in DRAWS] + [f"dirichlet{alpha}-{seed}" for alpha in ALPHAS for seed in DRAWS]
BESIDE = ("none", "known")
SADE = "sade"  # no estimate of the prior, but of the experts' weights, without a correction
METRICS = {"accuracy": "top-1 %", "ece": "ECE %"}
Scores = dict[str, dict[str, list[float]]]  # family of distributions → prior → one figure a seed


def opened(checkpoint: Path, *, held_out: bool, calibration: str, views: bool) -> TestRun:
    """A run's test predictions, with those of its held-out images where it has any, and of two views for SADE."""
    source = checkpoint.parent / CONFIG_NAME
    config, files = read_configuration(source)
    parser = ConfigParser(config, source=str(source), resume=checkpoint, files=files)
    run = open_run(
        parser, launch_environment(), held_out="helpful" if held_out else "unused", calibration=calibration, views=views
    )
    assert run is not None, "there is one process"
    return run


def scores_of(run: TestRun, priors: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Metric → family → prior → mean over the family's draws, of one run."""
    preset = Preset("", "shifts", (*SWEEPS["cifar"].distributions, *RANDOM), ("mean",), by_default=False)
    found: dict[str, dict[str, dict[str, list[float]]]] = {
        metric: defaultdict(lambda: defaultdict(list)) for metric in METRICS
    }
    logits = run.predictions.logits[RAW]
    scored = partial(
        evaluate,
        logits,
        run.predictions.targets,
        run.loader.cls_num_list,
        distributions=run.selected(preset),
        homes=run.homes,
        prior_replicates=0,
    )
    rows = scored(
        predictors=predictors(preset.aggregations, logits.shape[1]),
        priors=[PRIORS[name] for name in priors if name != SADE],
        held_out=run.held_out_of(RAW),
        calibration=run.calibration.of(RAW),
    )
    if SADE in priors and logits.shape[1] == 1:
        raise UserError(f"--sade: {run.checkpoint} has one expert, and weighs nothing")
    if SADE in priors and run.views is not None:
        views = np.stack([view.logits[RAW] for view in run.views])
        weighed = scored(predictors=predictors([SADE], logits.shape[1]), views=views)
        rows = chain(rows, ({**row, "prior": SADE} for row in weighed))
    for row in rows:
        for metric in METRICS:
            found[metric][row["distribution"].partition("-")[0]][row["prior"]].append(100 * row[metric])
    return {
        metric: {family: {name: float(np.mean(values)) for name, values in rows.items()} for family, rows in by.items()}
        for metric, by in found.items()
    }


def gathered(runs: list[dict[str, dict[str, dict[str, float]]]]) -> dict[str, Scores]:
    """The same with one figure a seed."""
    return {
        metric: {
            family: {name: [run[metric][family][name] for run in runs] for name in rows}
            for family, rows in runs[0][metric].items()
        }
        for metric in METRICS
    }


def closed(rows: dict[str, list[float]], name: str) -> float | None:
    """Percent of the gap between none and known; None where there is no gap of half a point."""
    none, known, ours = (float(np.mean(rows[prior])) for prior in (*BESIDE, name))
    return 100 * (ours - none) / (known - none) if known - none >= 0.5 else None


def gain(rows: dict[str, list[float]], name: str) -> tuple[float, float]:
    """Mean gain over none, and half of its paired 95 % interval (nan for one seed)."""
    differences = np.subtract(rows[name], rows["none"])
    if len(differences) < 2:
        return float(differences.mean()), float("nan")
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean()), float(half)


def report(found: dict[str, Scores], priors: list[str]) -> str:
    """Tables: each metric, and the part of the gap that is closed with the gain's interval."""
    parts = []
    for metric, title in METRICS.items():
        lines = [[family, *(f"{np.mean(rows[name]):.1f}" for name in priors)] for family, rows in found[metric].items()]
        parts.append(f"{title}\n{table(['test prior', *priors], lines)}")
    estimates = [name for name in priors if name not in BESIDE]
    lines = []
    for family, rows in found["accuracy"].items():
        cells = []
        for name in estimates:
            (mean, half), part = gain(rows, name), closed(rows, name)
            cells.append(f"{mean:+.1f} ± {half:.1f}" + (f" ({part:.0f} %)" if part is not None else ""))
        lines.append([family, *cells])
    parts.append(
        "gain over none in points, paired 95 % interval over seeds (part of the gap to known)\n"
        + table(["test prior", *estimates], lines)
    )
    return "\n\n".join(parts)


def main() -> None:
    """Open the runs, score them, print and write the tables."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("checkpoints", nargs="+", type=Path, help="one for each seed")
    flags.add_argument("--priors", nargs="+", default=[name for name in PRIORS if name != "posthoc"])
    flags.add_argument(
        "--sade", action="store_true", help="SADE's test-time weights besides; predicts two views of the test images"
    )
    flags.add_argument("--without-held-out", action="store_true", help="logits alone; leaves out what needs more")
    flags.add_argument("--calibration", default="none", help="none, or stored: as tools.calibrate wrote it before")
    flags.add_argument("--out", type=Path, help="write the figures here, as JSON")
    arguments = flags.parse_args()
    held_out = not arguments.without_held_out
    given = [*BESIDE, *(name for name in arguments.priors if name not in BESIDE)]
    priors = [name for name in given if held_out or PRIORS[name].held_out != "needed"] + [SADE] * arguments.sade
    opened_as_asked = partial(opened, held_out=held_out, calibration=arguments.calibration, views=arguments.sade)
    runs = map(opened_as_asked, arguments.checkpoints)
    found = gathered([scores_of(run, priors) for run in runs])
    print(report(found, priors))
    if arguments.out is not None:
        content: dict[str, Any] = {
            "machine": processor_name(),
            "checkpoints": [str(path.relative_to(path.parents[2])) for path in arguments.checkpoints],
            "held_out": held_out,
            "calibration": arguments.calibration,
            **found,
        }
        write_text(arguments.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)

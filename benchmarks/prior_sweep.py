"""Seconds of a sweep from kept predictions: eleven test distributions × six priors, every metric.

    python -m benchmarks.prior_sweep --out benchmarks/results/prior_sweep_cpu.json

The logits are a calibrated predictor's: posteriors, by Bayes' rule, of classes that are Gaussians with random means, as
three experts see them who differ by noise. The predictor is at home on the uniform prior. Neither the start of the
process nor the bootstrap of the estimated priors' intervals counts, and one thread computes. The round of the fewest
CPU seconds counts; they stand beside the wall's, since other work on the machine delays the latter.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import processor_name
from data_loader.datasets.longtail import SHIFT_RATIOS
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import Distribution, TestSplit, select
from trainer.evaluation.presets import ladder
from trainer.evaluation.priors import PRIORS
from trainer.evaluation.protocol import evaluate
from utils.config.command_line import OneLineParser, positive_integer
from utils.reporting.tables import table

SIX = ("none", "known", "em", "map-em", "tilt", "auto")
_EXPERTS, _DIMENSIONS, _SPREAD, _NOISE = 3, 16, 0.75, 0.3


def calibrated_logits(targets: np.ndarray, classes: int) -> np.ndarray:
    """Each expert's logits, float32 [N, E, C]: exact for Gaussian classes, but for a little noise."""
    random = np.random.default_rng(0)
    means = random.normal(size=(classes, _DIMENSIONS)) * _SPREAD
    points = means[targets] + random.normal(size=(len(targets), _DIMENSIONS))
    exact = points @ means.T - 0.5 * (means**2).sum(axis=1)
    noise = random.normal(size=(len(targets), _EXPERTS, classes)) * _NOISE
    return (exact[:, np.newaxis] + noise).astype(np.float32)


def time_priors(
    logits: np.ndarray, split: TestSplit, distributions: Sequence[Distribution]
) -> dict[str, tuple[float, float]]:
    """Seconds of all distributions under each prior, by the wall's clock and of this process.

    What the priors share (the ensemble, what estimators start from) counts for the first that needs it.
    """
    rows = evaluate(
        logits,
        split.targets,
        split.class_counts,
        distributions=distributions,
        predictors=predictors(("mean",), logits.shape[1]),
        priors=[PRIORS[name] for name in SIX],
        homes=np.full((1, logits.shape[2]), 1 / logits.shape[2]),
        prior_replicates=0,
    )
    spent = dict.fromkeys(SIX, (0.0, 0.0))
    wall, cpu = time.perf_counter(), time.process_time()
    for row in rows:
        now = time.perf_counter(), time.process_time()
        before = spent[row["prior"]]
        spent[row["prior"]] = (before[0] + now[0] - wall, before[1] + now[1] - cpu)
        wall, cpu = now
    return spent


def main() -> None:
    """Time each prior, print a table, and keep the figures."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive_integer, default=10_000, help="default: 10000")
    parser.add_argument("--classes", type=positive_integer, default=100, help="default: 100")
    parser.add_argument("--rounds", type=positive_integer, default=3, help="default: 3")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classes = arguments.classes
    targets = np.arange(arguments.images) % classes
    counts = [int(500 * 0.01 ** (label / max(classes - 1, 1))) for label in range(classes)]
    split = TestSplit(targets, counts)
    distributions = select(ladder(SHIFT_RATIOS), split)
    logits = calibrated_logits(targets, classes)
    rounds = [time_priors(logits, split, distributions) for _ in range(arguments.rounds)]
    fastest = min(rounds, key=lambda spent: sum(cpu for _, cpu in spent.values()))
    results = [{"prior": name, "wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in fastest.items()]
    total = {"prior": "all", **{key: sum(float(each[key]) for each in results) for key in ("wall_s", "cpu_s")}}
    lines = [[each["prior"], *(f"{each[name]:.2f}" for name in ("wall_s", "cpu_s"))] for each in [*results, total]]
    images = sum(len(distribution.indices) for distribution in distributions)
    print(f"{len(distributions)} distributions of {images} images, {_EXPERTS} experts, {classes} classes")
    print(f"{processor_name()}, one thread\n\n{table(['prior', 'seconds', 'CPU seconds'], lines)}")
    if arguments.out is not None:
        content = {
            "machine": processor_name(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "images": arguments.images,
            "classes": classes,
            "distributions": [distribution.name for distribution in distributions],
            "priors": results,
            "total": total,
        }
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

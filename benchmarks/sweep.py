"""Sweeps over eleven test distributions, ours against one forward pass for each of them.

    python -m benchmarks.sweep --out benchmarks/results/sweep_cpu.json

ResNet-32 × 3 experts on made-up images of 100 classes. Ours runs the network once over the test split, and computes
every metric of every distribution from the logits; the plain way only counts what is right. "kept logits" is the second
sweep of a checkpoint. Neither has the start of its process in it: see `benchmarks.startup`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark
from benchmarks.cifar_run import CifarRun, cifar_run
from benchmarks.plain import plain_sweep
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import Distribution, TestSplit, select
from trainer.evaluation.predictions import predict
from trainer.evaluation.presets import SWEEPS
from trainer.evaluation.protocol import evaluate


def measured(rounds: int, *, images: int = 1000) -> Comparison:
    """Both by turns, on a test split of so many images."""
    with tempfile.TemporaryDirectory() as folder:
        run = cifar_run(Path(folder), largest_class=100, test_images=images)
        distributions = distributions_of(run)
        predicted, scored = our_halves(run, distributions)
        kept = predicted()
        ways = {
            PLAIN: lambda: plain_sweep(run.plain, run.test, [each.indices for each in distributions]),
            **run.in_each_precision(lambda: scored(predicted())),
            "kept logits": lambda: scored(kept),
        }
        return by_turns("sweep of 11 distributions", ways, amount=1, unit="sweeps/s", rounds=rounds)


def distributions_of(run: CifarRun) -> list[Distribution]:
    """The forward–backward ladder of the run's test split."""
    loader = run.trainer.loaders["train"].of_split("test")
    return list(select(SWEEPS["cifar"].distributions, TestSplit(loader.targets, loader.cls_num_list)))


def our_halves(
    run: CifarRun, distributions: list[Distribution]
) -> tuple[Callable[[], np.ndarray], Callable[[np.ndarray], list[float]]]:
    """What runs the network, returning logits [N, E, C], and what scores these: the accuracy on each distribution."""
    loader, network = run.trainer.loaders["train"].of_split("test"), run.trainer.method.network

    def predicted() -> np.ndarray:
        found = predict(network, loader, torch.device("cpu"))
        assert found is not None, "there is one process"
        return found.logits

    def scored(logits: np.ndarray) -> list[float]:
        mean = predictors(("mean",), logits.shape[1])
        rows = evaluate(logits, loader.targets, loader.cls_num_list, distributions=distributions, predictors=mean)
        return [row["accuracy"] for row in rows]

    return predicted, scored


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(__doc__, {"sweep": measured})


if __name__ == "__main__":
    main()

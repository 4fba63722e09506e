"""Training on a GPU: images a second of whole epochs, the plain way against ours with one thing after another on.

    python -m benchmarks.gpu --out benchmarks/results/gpu.json

The CIFAR-100-LT recipe (ResNet-32, three experts) on made-up images. All ways are timed by turns, after epochs that
don't count, in which programs are compiled and graphs recorded. The plain way is `benchmarks/plain.py`'s, on the GPU:
Pillow in worker processes, experts one after the other, the loss fetched after each step. All may use TF32 in
convolutions, as PyTorch does by itself. "waits": how often a step waits for the GPU. "launches": how often it hands
it something to do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from base import RunFolder
from base.base_data_loader import CPU
from benchmarks.alternating import PLAIN
from benchmarks.cifar_run import BATCH, TAUS, CifarRun, cifar_run
from benchmarks.machine import machine
from benchmarks.plain import plain_step
from data_loader.loader import ImageDataLoader
from tests.trainer.small_runs import with_changes
from trainer.build import build_trainer
from trainer.config.run_config import run_config
from trainer.loaders import build_loaders
from trainer.trainer import Trainer
from utils.config.command_line import OneLineParser, positive_integer
from utils.config.parser import ConfigParser
from utils.errors import UserError, run_main
from utils.files.writing import write_text
from utils.reporting.tables import table

COPIED = "ours, tf32, images copied"
_BF16 = {"trainer.precision": "bf16"}
WAYS: dict[str, dict[str, Any]] = {
    COPIED: {},
    "ours, tf32": {},
    "ours, bf16": _BF16,
    "ours, bf16, fused update": {**_BF16, "optimizer.args.fused": True},
    "ours, bf16, compiled": {**_BF16, "trainer.compile": True},
    "ours, bf16, reduce-overhead": {**_BF16, "trainer.compile": "reduce-overhead"},
    "ours, bf16, max-autotune": {**_BF16, "trainer.compile": "max-autotune"},
}
"""What each way changes in the recipe."""

_WARM_UP = 3  # epochs: a CUDA graph of the short last batch is recorded in the third at the latest
_SHARE = sum(0.01 ** (label / 99) for label in range(100))  # images of the tail for one of its largest class


@dataclass
class Measured:
    """What was measured of a way.

    Args:
        images: of an epoch.
        steps: of an epoch.
        first: seconds of the first epoch, with all that is compiled in it.
        seconds: of the epochs that count, one a round.
        waits: for the GPU, a step; None: not counted.
        launches: of kernels and graphs, a step; None: not counted.
        memory: bytes of the GPU's memory in use at most, all ways' weights among them; 0 on a CPU.
    """

    images: int
    steps: int
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    waits: float | None = None
    launches: float | None = None
    memory: int = 0

    @property
    def rate(self) -> float:
        """Images a second, median of the rounds."""
        return self.images / float(np.median(self.seconds))

    def as_json(self) -> dict[str, Any]:
        """For a result file."""
        return {"images_per_second": self.rate, **vars(self)}


def our_trainer(run: CifarRun, folder: Path, changes: Mapping[str, Any], device: torch.device) -> Trainer:
    """A trainer of the run's images and of its recipe with these changes."""
    changes = {"trainer.checkpoint_minutes": 0, **changes}  # none within an epoch
    parser = ConfigParser(with_changes(run.trainer.metadata["config"], changes), source="a benchmark")
    typed = run_config(parser)
    folder.mkdir()
    return build_trainer(
        typed, parser=parser, loaders=build_loaders(typed), device=device, folder=RunFolder(folder), resumed=None
    )


def our_way(trainer: Trainer) -> Callable[[], None]:
    """An epoch after the other, as a user's run has them."""
    epochs = count(1)

    def epoch() -> None:
        torch.backends.cudnn.deterministic = True  # as `choose_device` sets it
        trainer.state.step = 0
        trainer.train_steps(next(epochs))

    return epoch


def plain_way(run: CifarRun, device: torch.device) -> Callable[[], None]:
    """The same; worker processes start anew each epoch, as they do by default."""
    network, log_prior = run.plain.to(device), run.log_prior.to(device)
    optimizer = run.plain_optimizer()
    network.train()

    def epoch() -> None:
        torch.backends.cudnn.deterministic = False  # as it is by default
        for images, targets in run.train.batches(shuffle=True):
            on_device = images.to(device), targets.to(device)
            plain_step(network, optimizer, *on_device, taus=TAUS, log_prior=log_prior)

    return epoch


def measured(
    folder: Path, device: torch.device, *, ways: Mapping[str, Mapping[str, Any]], rounds: int, steps: int, warm_up: int
) -> dict[str, Measured]:
    """The plain way and others by turns.

    Args:
        folder: for files and runs.
        device: to train on.
        ways: title → what it changes in the recipe.
        rounds: epochs of each way that count.
        steps: of an epoch, about.
        warm_up: epochs of each way that don't, ≥ 1.
    """
    run = cifar_run(folder, largest_class=max(round(steps * BATCH / _SHARE), 1), test_images=100)
    epochs = {PLAIN: plain_way(run, device)}
    for number, (title, changes) in enumerate(ways.items()):
        trainer = our_trainer(run, folder / str(number), changes, device)
        if title == COPIED:
            loader = trainer.loaders["train"]
            assert isinstance(loader, ImageDataLoader)
            loader.prepare_views(loader.views, CPU)
        epochs[title] = our_way(trainer)
    size = len(run.train)
    found = {title: Measured(size, len(run.trainer.loaders["train"])) for title in epochs}
    for title, epoch in epochs.items():
        found[title].first, *_ = [seconds(epoch, device) for _ in range(warm_up)]
    for _ in range(rounds):
        for title, epoch in epochs.items():
            found[title].seconds.append(seconds(epoch, device))
    if device.type == "cuda":
        for title, epoch in epochs.items():
            count_events(epoch, device, found[title])
    return found


def seconds(epoch: Callable[[], None], device: torch.device) -> float:
    """Of an epoch, until the device has done all of it."""
    start = time.perf_counter()
    epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def count_events(epoch: Callable[[], None], device: torch.device, found: Measured) -> None:
    """Count an epoch's waits and another one's launches, and the memory that they take."""
    torch.cuda.reset_peak_memory_stats(device)
    with waits_told() as told:
        epoch()
    found.waits = sum("called a synchronizing" in str(each.message) for each in told) / found.steps
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        epoch()
        torch.cuda.synchronize(device)
    names = ("LaunchKernel", "GraphLaunch")
    launched = [event.count for event in profiled.key_averages() if any(name in event.key for name in names)]
    found.launches = sum(launched) / found.steps
    found.memory = torch.cuda.max_memory_allocated(device)


@contextmanager
def waits_told() -> Iterator[list[warnings.WarningMessage]]:
    """PyTorch warns of each operation for which the process waits."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield told
        finally:
            torch.cuda.set_sync_debug_mode("default")


def report(found: Mapping[str, Measured]) -> str:
    """A table, a line a way."""
    rows = []
    for title, way in found.items():
        ratios = np.array(found[PLAIN].seconds) / np.array(way.seconds)
        spread = f"{ratios.min():.2f}–{ratios.max():.2f}"
        counts = ["–" if number is None else f"{number:.1f}" for number in (way.waits, way.launches)]
        numbers = [f"{way.rate:.4g}", f"{np.median(ratios):.2f}", spread, *counts, f"{way.memory / 2**30:.2f}"]
        rows.append([title, *numbers, f"{way.first:.1f}"])
    return table(["way", "images/s", "ratio", "range", "waits", "launches", "GiB", "first epoch, s"], rows)


def main() -> None:
    """Measure with the flags of the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rounds", type=positive_integer, default=5, help="epochs of each way, by turns; default: 5")
    add("--steps", type=positive_integer, default=85, help="steps of an epoch, about; default: the recipe's 85")
    add("--out", type=Path, metavar="FILE", help="JSON of the figures")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise UserError("no GPU found; this measures training on one (make bench measures on a CPU)")
    device = torch.device("cuda", 0)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(
            Path(folder), device, ways=WAYS, rounds=arguments.rounds, steps=arguments.steps, warm_up=_WARM_UP
        )
    gpu = torch.cuda.get_device_properties(device)
    print(f"{report(found)}\n{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    if arguments.out is not None:
        about = {**machine(), "gpu": gpu.name, "gpu_memory": gpu.total_memory, "cuda": torch.version.cuda}
        content = {"machine": about, "results": {title: way.as_json() for title, way in found.items()}}
        write_text(arguments.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)

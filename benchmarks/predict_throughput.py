"""Images a second of `tools.predict` on JPEG files, beside the bare network's on tensors that lie ready.

    python -m benchmarks.predict_throughput --out benchmarks/results/predict_throughput_cpu.json

Two cases, networks untrained: 10,000 files of 32 × 32 pixels for the ResNet-32 of three experts of CIFAR-100-LT's
recipe, and 1,000 of 300 × 225 for the ResNet-50 of ImageNet-LT's, with one expert. Batches are the recipes', workers as
many, but at most as many as cores. The files are taken in slices. On each, what the command does from the first file to
the finished rows (`TrainedNetwork.predict`, `as_rows`: start of the workers, reading, decoding, cropping, normalising,
network, ranking) alternates with the same network on the same batches, already normalised, in the same process. A short
run of both warms up; the medians over the slices count, also of each pair's ratio, as other work on the machine hits
both. The ratio of the CPU seconds, the workers' included, stands beside that of the clock's, which such work disturbs
all the same. Freed memory is kept, as the command does, and given up before each run, as if it began the process: what
a process has when its workers are started is copied, page by page, as it is written to. Neither PyTorch's import nor
the reading of the checkpoint is in it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from benchmarks.machine import processor_name
from trainer.build import bare_network
from trainer.config.run_config import run_config
from trainer.inference.predicted_rows import as_rows
from trainer.inference.trained_network import TrainedNetwork
from utils.allocator import keep_freed_memory
from utils.config.command_line import OneLineParser, positive_integer
from utils.config.parser import CONFIG_NAME, ConfigParser

_RECIPES = Path(__file__).parents[1] / "configs" / "mixup" / "standard_training"
_GOAL = 0.85


@dataclass(frozen=True)
class Case:
    """A network and files for it: recipe, changes to it, (width, height) of the files, how many, how many a slice."""

    recipe: str
    overrides: dict[str, Any]
    size: tuple[int, int]
    files: int
    slice: int


class Spent(NamedTuple):
    """Seconds by the clock, and of all cores, this process's and its workers'."""

    wall: float
    cpu: float


CASES = {
    "ResNet-32, 3 experts": Case("config_cifar100_ir100_bs-experts.json", {}, (32, 32), 10_000, 2500),
    "ResNet-50, 1 expert": Case(
        "config_imagenet_lt_resnet50_bs-experts.json",
        {"arch.args.num_experts": 1, "loss.args.tau_list": [1]},
        (300, 225),
        1000,
        125,
    ),
}


def write_jpegs(folder: Path, size: tuple[int, int], count: int) -> list[str]:
    """JPEGs of one size, cut at random from scikit-learn's two photographs."""
    random = np.random.default_rng(0)
    photos = [Image.fromarray(pixels).resize((640, 427)) for pixels in load_sample_images().images]
    paths = []
    for number in range(count):
        left, top = (int(random.integers(0, a - b + 1)) for a, b in zip((640, 427), size, strict=True))
        paths.append(str(folder / f"{number:05}.jpg"))
        photos[number % 2].crop((left, top, left + size[0], top + size[1])).save(paths[-1], quality=90)
    return paths


def open_untrained(case: Case, folder: Path) -> TrainedNetwork:
    """A network of the case's recipe, written to a checkpoint and opened as the command opens it."""
    overrides = {path: (value, "the benchmark") for path, value in case.overrides.items()}
    parser = ConfigParser.from_file(_RECIPES / case.recipe, overrides=overrides)
    config = run_config(parser)
    classes = config.arch.args["num_classes"]
    parser.write(folder)
    content = {
        "state_dict": bare_network(config).state_dict(),
        "class_names": [str(label) for label in range(classes)],
        "class_counts": [max(500 - label, 1) for label in range(classes)],
        "config": parser.config,
    }
    torch.save(content, folder / "checkpoint-epoch1.pth")
    return TrainedNetwork.open(ConfigParser.from_file(folder / CONFIG_NAME, resume=folder / "checkpoint-epoch1.pth"))


def ready_batches(network: TrainedNetwork, files: Sequence[str]) -> list[Tensor]:
    """What the network gets for files: [B, 3, S, S] each."""
    return [batch.view("test") for batch in network.images(files).epoch(0)]


@torch.inference_mode()
def run_bare(network: TrainedNetwork, batches: Sequence[Tensor]) -> None:
    for batch in batches:
        network.network(batch)


def run_command(network: TrainedNetwork, files: Sequence[str]) -> None:
    as_rows(network.predict(files), topk=5, reject_below=None)


def give_up_freed_memory() -> None:
    """Hand it back to the system, where the C library is glibc."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def seconds(run: Callable[[], None]) -> Spent:
    give_up_freed_memory()
    began, before = time.perf_counter(), sum(os.times()[:4])
    run()
    gc.collect()  # ends the workers: their time counts once they are gone
    return Spent(time.perf_counter() - began, sum(os.times()[:4]) - before)


def measure(case: Case, slices: int) -> dict[str, Any]:
    """Images a second of both on each slice, and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        network = open_untrained(case, Path(folder))
        network.network.eval()
        files = write_jpegs(Path(folder), case.size, min(case.files, slices * case.slice))
        spent = []
        for first in range(0, len(files), case.slice):
            part = files[first : first + case.slice]
            batches = ready_batches(network, part)
            if not first:
                run_bare(network, batches[:1])
                run_command(network, part[:64])
            runs = {"predict": lambda part=part: run_command(network, part)}
            runs["bare"] = lambda batches=batches: run_bare(network, batches)
            order = list(runs) if len(spent) % 2 else list(runs)[::-1]  # neither is always the first
            spent.append({name: seconds(runs[name]) for name in order})
    ratios = {
        kind: np.array([getattr(each["bare"], kind) / getattr(each["predict"], kind) for each in spent])
        for kind in Spent._fields
    }
    return {
        "images": len(files),
        "images_a_slice": case.slice,
        "batch_size": network.loader.batch_size,
        "workers": network.images(files).num_workers,
        "images_a_second": {
            name: float(np.median([case.slice / each[name].wall for each in spent])) for name in ("predict", "bare")
        },
        "ratio": {kind: float(np.median(values)) for kind, values in ratios.items()},
        "ratio_range": {kind: [float(values.min()), float(values.max())] for kind, values in ratios.items()},
        "seconds": [{name: each[name]._asdict() for name in each} for each in spent],
    }


def main() -> None:
    """Measure each case, print a line, and keep the figures."""
    parser = OneLineParser(
        prog="python -m benchmarks.predict_throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--slices", type=positive_integer, default=10, help="at most so many of each case; default: 10")
    parser.add_argument("--threads", type=positive_integer, help="of the network; default: PyTorch's own choice")
    parser.add_argument("--out", type=Path, metavar="JSON", help="file for the figures")
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    machine = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "pillow", "numpy")},
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    results = {}
    for name, case in CASES.items():
        results[name] = result = measure(case, arguments.slices)
        rate, ratio, (low, high) = result["images_a_second"], result["ratio"], result["ratio_range"]["wall"]
        print(
            f"{name}: predict {rate['predict']:.1f} images/s, bare network {rate['bare']:.1f}, ratio "
            f"{ratio['wall']:.2f} (slices: {low:.2f} to {high:.2f}; goal {_GOAL}), in CPU seconds {ratio['cpu']:.2f}",
            flush=True,
        )
    machine["load_after"] = os.getloadavg()[0]
    if arguments.out:
        arguments.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

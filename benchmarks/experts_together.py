"""Whether it pays to compute the experts' convolutions together: forward and backward pass, layer by layer.

    python -m benchmarks.experts_together --out benchmarks/results/experts_together_amx_cpu.json

"one after the other" is what this project does. "grouped": one convolution with a group for each expert. "wide": one
with all experts' output channels, where they get the same images. "block-diagonal": one dense convolution whose weight
is zero between experts. "streams": one after the other, each expert on a CUDA stream of its own. The ways of a layer
take turns; "ratio" is how many times as fast as one after the other, round by round. Joined ways find their images
side by side already, except where the shared part ends; joining weights and taking gradients apart is timed.
"fastest" takes each layer's fastest way and lets it be free to go from one to the other.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model.model as networks
from benchmarks.cifar_run import RECIPE
from benchmarks.expert_convolutions import SEPARATE, Layer, layers_of, passes, random_values, ways_of
from benchmarks.machine import QUIET, machine, matrix_rate
from tools.recipe_costs import image_side, images_at_once
from trainer.config.run_config import find_problems
from trainer.engine.precision import Precision, fastest_safe
from utils.allocator import keep_freed_memory
from utils.config.command_line import OneLineParser, positive_integer
from utils.config.parser import ConfigParser
from utils.errors import UserError, run_main
from utils.files.writing import write_text
from utils.reporting.tables import table

IMAGENET = [RECIPE.with_name(f"config_imagenet_lt_{name}_bs-experts.json") for name in ("resnet50", "resnext50")]
FASTEST = "fastest"
_SECONDS = 0.05  # that a way is repeated for, about, each time that it is timed


@dataclass(frozen=True)
class Times:
    """What was measured of a layer, or of all.

    Args:
        title: of it.
        count: how many such layers an expert has.
        seconds: of each way's forward and backward pass of all experts, one for each round.
        quiet: of the threads' time, what the process got in matrix products before and after the rounds; the lesser.
    """

    title: str
    count: int
    seconds: Mapping[str, Sequence[float]]
    quiet: float

    def ratios(self, way: str) -> np.ndarray:
        """How many times as fast as one after the other, round by round."""
        return np.array(self.seconds[SEPARATE]) / np.array(self.seconds[way])

    def fastest(self) -> str:
        """The way with the least median."""
        return min(self.seconds, key=lambda way: float(np.median(self.seconds[way])))

    def rows(self) -> list[list[str]]:
        """For a table."""
        return [
            [
                self.title,
                str(self.count),
                way,
                f"{1000 * np.median(seconds):.3g}",
                f"{np.median(self.ratios(way)):.2f}",
                f"{self.ratios(way).min():.2f}–{self.ratios(way).max():.2f}",
            ]
            for way, seconds in self.seconds.items()
        ]

    def as_json(self) -> dict[str, Any]:
        """For a result file."""
        ratios = {way: self.ratios(way) for way in self.seconds if way != SEPARATE}
        return {
            "title": self.title,
            "count": self.count,
            "milliseconds": {way: 1000 * float(np.median(seconds)) for way, seconds in self.seconds.items()},
            "ratio": {way: float(np.median(each)) for way, each in ratios.items()},
            "ratio_range": {way: [float(each.min()), float(each.max())] for way, each in ratios.items()},
            "share_of_threads_time": self.quiet,
            "seconds": dict(self.seconds),
        }


def whole(layers: Sequence[Times]) -> Times:
    """All layers as often as they are there: the ways that each of them has, and each layer's fastest."""
    common = [way for way in layers[0].seconds if all(way in each.seconds for each in layers)]
    chosen = {way: [way] * len(layers) for way in common} | {FASTEST: [each.fastest() for each in layers]}
    seconds = {
        title: sum(each.count * np.array(each.seconds[way]) for each, way in zip(layers, ways, strict=True)).tolist()
        for title, ways in chosen.items()
    }
    return Times("all", 1, seconds, min(each.quiet for each in layers))


def measured(layer: Layer, count: int, *, precision: Precision, rounds: int) -> Times:
    """The ways of a layer by turns, after two passes that don't count."""
    device = precision.device
    values = random_values(layer, dtype=torch.bfloat16 if precision.name == "bf16" else torch.float32, device=device)
    streams = [torch.cuda.Stream(device) for _ in range(layer.experts)] if device.type == "cuda" else []
    ways = ways_of(layer, values.convolutions, streams)
    runs = {title: passes(way, values, precision.autocast) for title, way in ways.items()}
    for run in runs.values():
        seconds_of(run, device)
    repeats = {title: max(round(_SECONDS / seconds_of(run, device)), 1) for title, run in runs.items()}
    seconds: dict[str, list[float]] = {title: [] for title in runs}
    _, before = matrix_rate(torch.float32)
    for _ in range(rounds):
        for title, run in runs.items():
            seconds[title].append(seconds_of(run, device, repeats[title]))
    _, after = matrix_rate(torch.float32)
    return Times(str(layer), count, seconds, min(before, after))


def seconds_of(run: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Of one of so many runs, until the device has done all of them."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / repeats


def layers_of_recipe(path: Path) -> dict[Layer, int]:
    """Layer → how many of it an expert has, with as many images as a GPU of the recipe has at once.

    Raises:
        UserError: there is no such recipe, or no layer of which each expert has its own.
    """
    config = ConfigParser.from_file(path)
    config.validate(find_problems)
    _, batch = images_at_once(config, max(config.get("n_gpu", 1), 1))
    layers = layers_of(lambda: config.init_obj("arch", networks), batch=batch, side=image_side(config))
    if not layers:
        raise UserError(f"{path}: no expert has convolutions of its own here; name a recipe with arch.args.num_experts")
    return layers


def report(recipe: Path, precision: str, times: Sequence[Times]) -> str:
    """A table, a line a layer and way."""
    rows = [row for each in times for row in each.rows()]
    return f"{recipe.stem}, {precision}\n{table(['layer', 'times', 'way', 'ms', 'ratio', 'range'], rows)}"


def main() -> None:
    """Measure with the flags of the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    precisions = ("fp32", "tf32", "bf16")
    add("--precision", choices=precisions, nargs="+", help="default: fp32 or on a GPU tf32; bf16 where `auto` is it")
    add("--recipe", type=Path, nargs="+", metavar="CONFIG", help="default: CIFAR-100-LT's; on a GPU ImageNet-LT's, too")
    add("--rounds", type=positive_integer, default=15, help="turns of each way; default: 15")
    add("--out", type=Path, metavar="FILE", help="JSON of the figures")
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    names = arguments.precision or ["tf32" if on_gpu else "fp32", *({"bf16"} & {fastest_safe(device)})]
    layers = {path: layers_of_recipe(path) for path in arguments.recipe or [RECIPE, *(IMAGENET if on_gpu else [])]}
    keep_freed_memory()
    results, quiet = [], 1.0
    for (path, counts), name in product(layers.items(), names):
        precision = Precision(name, device)
        precision.allow_tf32()
        times = [measured(layer, n, precision=precision, rounds=arguments.rounds) for layer, n in counts.items()]
        times.append(whole(times))
        quiet = min(quiet, times[-1].quiet)
        print(f"{report(path, name, times)}\n", flush=True)
        results.append({"recipe": path.as_posix(), "precision": name, "layers": [each.as_json() for each in times]})
    about = {**machine(), "gpu": torch.cuda.get_device_name(device) if on_gpu else None}
    print(about["gpu"] or f"{about['processor']} ({', '.join(about['vector_units'])}), {about['threads']} threads")
    if quiet < QUIET:
        print(f"warning: a busy machine: {100 * quiet:.0f} % of the threads' time was ours")
    if arguments.out is not None:
        content = {"machine": about, "results": results}
        write_text(arguments.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)

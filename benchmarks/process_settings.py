"""What a process's settings bring: ResNet-32 × 3 experts, evaluated and trained on a CPU.

    python -m benchmarks.process_settings --precision bf16 --out F

A setting is a process's own affair, so processes are started by turns: as a run has it (freed memory is kept, see
`utils.allocator`), and each with one thing changed. jemalloc and tcmalloc are measured where the system has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Optimizer

from benchmarks.machine import machine
from model.experts import ExpertModel
from model.model import ResNet32Model
from utils.allocator import keep_freed_memory
from utils.config.command_line import OneLineParser, positive_integer
from utils.errors import run_main
from utils.files.writing import write_text
from utils.reporting.tables import table

AS_RUN, GIVEN_BACK, FLUSHED, ALONE, FUSED = (
    "as a run",
    "memory given back",
    "denormals flushed",
    "one thread",
    "fused SGD",
)
ALLOCATORS = {"jemalloc": "jemalloc", "tcmalloc": "tcmalloc_minimal"}
"""Name → library, which takes malloc's place."""
ENVIRONMENTS = {
    "huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    **{name: {"LD_PRELOAD": found} for name, library in ALLOCATORS.items() if (found := find_library(library))},
}
WAYS = (AS_RUN, GIVEN_BACK, FLUSHED, ALONE, FUSED, *ENVIRONMENTS)
WORK = {"evaluation": (500, 32, 8), "training": (128, 32, 8), "training, digits": (32, 8, 60)}
"""What is done → images at once, pixels of their side, how often."""


def measured(way: str, precision: str) -> dict[str, float]:
    """Images a second in this process."""
    if way != GIVEN_BACK:
        keep_freed_memory()
    if way == ALONE:
        torch.set_num_threads(1)
    torch.set_flush_denormal(way == FLUSHED)
    network = ResNet32Model(num_classes=100, num_experts=3, use_norm=True).to(memory_format=torch.channels_last)
    fused = True if way == FUSED else None
    optimizer = SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=fused)
    rates = {}
    for what, (size, side, times) in WORK.items():
        network.train(what != "evaluation")
        images = torch.randn(size, 3, side, side).contiguous(memory_format=torch.channels_last)
        with _in(precision):
            _run(network, optimizer, images)
            start = time.perf_counter()
            for _ in range(times):
                _run(network, optimizer, images)
        rates[what] = times * size / (time.perf_counter() - start)
    return rates


@contextmanager
def _in(precision: str) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        yield


def _run(network: ExpertModel, optimizer: Optimizer, images: Tensor) -> None:
    if not network.training:
        with torch.inference_mode():
            network.expert_logits(images)
        return
    logits = network.expert_logits(images).mean(dim=1).float()
    F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.int64)).backward()
    optimizer.step()
    optimizer.zero_grad()


def main() -> None:
    """By turns, then medians and ratios."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: fp32")
    parser.add_argument("--rounds", type=positive_integer, default=7, help="processes of each setting; default: 7")
    parser.add_argument("--only", choices=WAYS, help="print the rates with this setting alone, as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON of the figures")
    arguments = parser.parse_args()
    precision, only = arguments.precision, arguments.only
    if only is not None:
        print(json.dumps(measured(only, precision)))
        return
    rates: dict[str, dict[str, list[float]]] = {what: {way: [] for way in WAYS} for what in WORK}
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds} …", flush=True)
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.process_settings", "--only", way, "--precision", precision]
            environment = {**os.environ, **ENVIRONMENTS.get(way, {})}
            told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
            for what, rate in json.loads(told).items():
                rates[what][way].append(rate)
    rows = []
    for what, of_ways in rates.items():
        usual = np.array(of_ways[AS_RUN])
        for way, values in of_ways.items():
            ratios = np.array(values) / usual
            spread = "" if way == AS_RUN else f"{np.median(ratios):.2f} ({ratios.min():.2f}–{ratios.max():.2f})"
            rows.append([what, way, f"{np.median(values):.1f}", spread])
    print(table(["what", "setting", "images/s", "ratio"], rows))
    about = machine()
    print(f"{about['processor']} ({', '.join(about['vector_units'])}), {about['threads']} threads, {precision}")
    if arguments.out is not None:
        write_text(
            arguments.out, json.dumps({"machine": about, "precision": precision, "rates": rates}, indent=1) + "\n"
        )


if __name__ == "__main__":
    run_main(main)

"""What it brings to keep freed memory (`utils.allocator`): ResNet-32 × 3 experts, evaluation and training on a CPU.

    python -m benchmarks.freed_memory

The allocator is a process's own affair, so processes with and without are started by turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.machine import machine
from model.experts import ExpertModel
from model.model import ResNet32Model
from utils.allocator import keep_freed_memory
from utils.reporting.tables import table

ROUNDS, STEPS = 5, 3
WAYS = GIVEN_BACK, KEPT = "given back", "kept"
BATCHES = {"evaluation": 500, "training": 128}


def measured() -> dict[str, float]:
    """Images a second in this process."""
    network = ResNet32Model(num_classes=100, num_experts=3, use_norm=True).to(memory_format=torch.channels_last)
    rates = {}
    for what, size in BATCHES.items():
        network.train(what == "training")
        images = torch.randn(size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        _run(network, images)
        start = time.perf_counter()
        for _ in range(STEPS):
            _run(network, images)
        rates[what] = STEPS * size / (time.perf_counter() - start)
    return rates


def _run(network: ExpertModel, images: Tensor) -> None:
    if network.training:
        F.cross_entropy(
            network.expert_logits(images).mean(dim=1), torch.zeros(len(images), dtype=torch.int64)
        ).backward()
        network.zero_grad()
    else:
        with torch.inference_mode():
            network.expert_logits(images)


def main() -> None:
    """By turns, then medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WAYS, help="print this way's rates alone, as JSON")
    only = parser.parse_args().only
    if only is not None:
        if only == KEPT:
            keep_freed_memory()
        print(json.dumps(measured()))
        return
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.freed_memory", "--only", way]
            told = subprocess.run(command, capture_output=True, check=True).stdout
            for what, rate in json.loads(told).items():
                rates.setdefault((what, way), []).append(rate)
    rows = []
    for what in BATCHES:
        before, after = np.array(rates[what, GIVEN_BACK]), np.array(rates[what, KEPT])
        ratios = after / before
        medians = [f"{np.median(values):.1f}" for values in (before, after)]
        rows.append([what, *medians, f"{np.median(ratios):.2f}", f"{ratios.min():.2f}–{ratios.max():.2f}"])
    print(table(["images/s", *WAYS, "ratio", "range"], rows))
    about = machine()
    print(f"{about['processor']} ({', '.join(about['vector_units'])}), {about['threads']} threads")


if __name__ == "__main__":
    main()

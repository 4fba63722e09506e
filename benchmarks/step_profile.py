"""Where a training step's time goes, by kind of operation: the CIFAR-100-LT recipe, ResNet-32 × 3 experts, on a CPU.

python -m benchmarks.step_profile [--precision bf16]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks.cifar_run import cifar_run
from benchmarks.machine import machine
from benchmarks.train_step import our_way
from utils.config.command_line import OneLineParser
from utils.reporting.tables import table

KINDS = {
    "convolutions, gradients": ("convolution_backward", "_Conv3x3Backward"),
    "convolutions, forward": ("mkldnn_convolution", "_Conv3x3"),
    "batch normalisation, shortcut, ReLU": ("batch_norm", "BatchNorm", "addcmul_", "threshold", "clamp_min_", "relu_"),
    "optimiser": ("Optimizer.step", "_foreach"),
}
"""What an operation's name contains; the first that fits."""
STEPS = 4


def kind_of(name: str) -> str:
    """Of an operation, by its name in the profile."""
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "the rest")


def main() -> None:
    """Profile some steps, after some that don't count."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="default: fp32")
    precision = parser.parse_args().precision
    with tempfile.TemporaryDirectory() as folder:
        of_cifar = cifar_run(Path(folder), largest_class=100, test_images=100)
        run = of_cifar.in_precision(precision, our_way(of_cifar, STEPS))
        run()
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            run()
    seconds: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    rows = [[kind, f"{1000 * value / STEPS:.0f}", f"{100 * value / total:.1f}"] for kind, value in ordered]
    print(table(["operation", "ms a step", "% of it"], rows))
    about = machine()
    print(f"{about['processor']} ({', '.join(about['vector_units'])}), {about['threads']} threads")


if __name__ == "__main__":
    main()

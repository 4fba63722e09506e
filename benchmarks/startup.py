"""From a command's start to its end, ours against a script that imports what it may need at the top.

    python -m benchmarks.startup --out benchmarks/results/startup_cpu.json

The plain way imports torch, torchvision, pandas, scikit-learn and TensorBoard, and prints an argument parser's help. A
rate of 2 is half a second.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark

_PLAIN = (
    "import argparse, numpy, pandas, sklearn.metrics, torch, torchvision, torch.utils.tensorboard\n"
    "parser = argparse.ArgumentParser()\nparser.add_argument('--config')\nparser.parse_args(['--help'])"
)
COMMANDS = {
    "train.py --help": ["train.py", "--help"],
    "a wrong flag": ["train.py", "--epoch", "3"],
    "a wrong value": ["train.py", "-c", "configs/digits/config_digits_ir40_ce.json", "--set", "optimizer.args.lr=fast"],
}


def measured(rounds: int) -> Comparison:
    """All by turns."""
    ways = {PLAIN: started(["-c", _PLAIN])} | {name: started(command) for name, command in COMMANDS.items()}
    return by_turns("start to end", ways, amount=1, unit="starts/s", rounds=rounds)


def started(command: list[str]) -> Callable[[], None]:
    """A process that runs the command with this Python."""

    def run() -> None:
        subprocess.run([sys.executable, *command], capture_output=True, check=False)

    return run


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(__doc__, {"startup": measured})


if __name__ == "__main__":
    main()

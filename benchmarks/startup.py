"""From a command's start to its end, ours against a script that imports what it may need at the top.

    python -m benchmarks.startup --out benchmarks/results/startup_cpu.json

The plain way imports torch, torchvision, pandas, scikit-learn and TensorBoard, and prints an argument parser's help. A
rate of 2 is half a second. The training is one epoch of a hundred of scikit-learn's digits.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable

from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark

_PLAIN = (
    "import argparse, numpy, pandas, sklearn.metrics, torch, torchvision, torch.utils.tensorboard\n"
    "parser = argparse.ArgumentParser()\nparser.add_argument('--config')\nparser.parse_args(['--help'])"
)
_DIGITS = "configs/digits/config_digits_ir40_bs-experts.json"
_MISTAKE = 2  # the exit code
COMMANDS = {
    "train.py --help": (["train.py", "--help"], 0),
    "a wrong flag": (["train.py", "--epoch", "3"], _MISTAKE),
    "a wrong value": (["train.py", "-c", _DIGITS, "--set", "optimizer.args.lr=fast"], _MISTAKE),
    "an epoch of training": (["train.py", "-c", _DIGITS, "--epochs", "1", "--no-report"], 0),
}
"""What is run, and the code that it ends with."""


def measured(rounds: int) -> Comparison:
    """All by turns."""
    with tempfile.TemporaryDirectory() as folder:
        few = ["--save_dir", folder, "--set", "data_loader.args.max_per_class=40"]
        ways = {PLAIN: started(["-c", _PLAIN], 0)}
        for name, (command, code) in COMMANDS.items():
            ways[name] = started(command + (few if "training" in name else []), code)
        return by_turns("start to end", ways, amount=1, unit="starts/s", rounds=rounds)


def started(command: list[str], code: int) -> Callable[[], None]:
    """A process that runs the command with this Python, and has to end with the code."""

    def run() -> None:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")

    return run


def main() -> None:
    """Measure with the flags of the command line."""
    run_benchmark(__doc__, {"startup": measured})


if __name__ == "__main__":
    main()

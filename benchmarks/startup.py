"""From a command's start to its end, ours against a script that imports what it may need at the top.

    python -m benchmarks.startup --out benchmarks/results/startup_cpu.json

The plain way imports torch, torchvision, pandas, scikit-learn and TensorBoard, and prints an argument parser's help;
beside it stands `import torch` alone. A rate of 2 is half a second. The training is one epoch of a hundred of
scikit-learn's digits; its checkpoint is swept over the shifts from kept predictions, the report included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.alternating import PLAIN, Comparison, by_turns
from benchmarks.bench_flags import run_benchmark

_PLAIN = (
    "import argparse, numpy, pandas, sklearn.metrics, torch, torchvision, torch.utils.tensorboard\n"
    "parser = argparse.ArgumentParser()\nparser.add_argument('--config')\nparser.parse_args(['--help'])"
)
_DIGITS = "configs/digits/config_digits_ir40_bs-experts.json"
_TRAINING = ["train.py", "-c", _DIGITS, "--epochs", "1", "--no-report", "--set", "data_loader.args.max_per_class=40"]
MISTAKES = {
    "a wrong flag": ["train.py", "--epoch", "3"],
    "a wrong value": ["train.py", "-c", _DIGITS, "--set", "optimizer.args.lr=fast"],
}
"""What is run, and ends with exit code 2."""


def measured(rounds: int) -> Comparison:
    """All by turns."""
    with tempfile.TemporaryDirectory() as folder:
        training = started([*_TRAINING, "--save_dir", folder])
        training()
        checkpoint = str(next(Path(folder).rglob("checkpoint-epoch1.pth")))
        sweep = started(["test_all_cifar.py", "-r", checkpoint])
        sweep()  # those that are timed find its predictions, results and pictures
        ways = {
            PLAIN: started(["-c", _PLAIN]),
            "import torch": started(["-c", "import torch"]),
            "train.py --help": started(["train.py", "--help"]),
            **{name: started(command, 2) for name, command in MISTAKES.items()},
            "an epoch of training": training,
            "a repeated sweep": sweep,
        }
        return by_turns("start to end", ways, amount=1, unit="starts/s", rounds=rounds)


def started(command: list[str], code: int = 0) -> Callable[[], None]:
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

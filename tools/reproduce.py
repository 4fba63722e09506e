"""How to repeat a run: `python -m tools.reproduce RUN_DIR` prints the command, and warns about what has changed."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from utils.command_line import OneLineParser
from utils.config import AUTOMATIC, CONFIG_NAME, ConfigParser, read_json
from utils.device import choose_device
from utils.distributed import World
from utils.errors import run_main
from utils.provenance import differences, process_facts, read_processes


def origin(processes: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """The flags that name what a run began from, where that was another run's checkpoint."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-r", "--resume", default=AUTOMATIC)
    begun = parser.parse_known_args(shlex.split(processes[0].get("command", "")))[0].resume
    own = begun == AUTOMATIC or Path(begun).resolve().parent == folder.resolve()
    return [] if own else ["-r", begun]


def main() -> None:
    """Print the command that repeats a run; differences to the present go to standard error."""
    parser = OneLineParser(
        description="Print the command that repeats a run, and what has changed since: commit, versions, device.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m tools.reproduce saved/digits/ir40/models/NAME/RUN",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the run")
    folder = parser.parse_args().run_dir
    processes = read_processes(folder)
    then = processes[-1]
    path = folder / CONFIG_NAME
    config = ConfigParser(read_json(path), source=str(path))
    device = choose_device(config.get("n_gpu", 1), World()) if torch.cuda.is_available() else torch.device("cpu")
    changed = differences(then, process_facts(device))
    for line in changed:
        print(f"warning: {line}", file=sys.stderr)
    if then.get("commit") and any(line.startswith("commit:") for line in changed):
        print(f"git checkout {then['commit']}")
    print(shlex.join(["python", "train.py", "-c", str(path), *origin(processes, folder)]))


if __name__ == "__main__":
    run_main(main)

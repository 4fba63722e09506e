"""How to repeat a run: `python -m tools.reproduce RUN_DIR` prints the command, and warns about what has changed."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from utils.config.command_line import OneLineParser
from utils.config.parser import AUTOMATIC, CONFIG_NAME, ConfigParser
from utils.distributed.context import DistributedContext
from utils.distributed.device import choose_device
from utils.errors import run_main
from utils.files.provenance import differences, process_facts, read_processes


def origin(processes: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """The flags that name what a run began from, where that was another run's checkpoint."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-r", "--resume", default=AUTOMATIC)
    begun = parser.parse_known_args(shlex.split(processes[0].get("command", "")))[0].resume
    own = begun == AUTOMATIC or Path(begun).resolve().parent == folder.resolve()
    return [] if own else ["-r", begun]


def launcher(processes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What starts as many processes at once as the run was begun with: BatchNorm sees the images of each alone."""
    count = processes[0].get("at_once", 1)
    return ["torchrun", "--standalone", f"--nproc_per_node={count}"] if count > 1 else ["python"]


def changes(processes: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[str]:
    """What another run would not have in common with this one, a line each."""
    counts = [process.get("at_once", 1) for process in processes]
    lines = differences(processes[-1], now)
    if len(set(counts)) > 1:
        in_turn = ", then ".join(str(count) for count, _ in groupby(counts))
        lines.append(f"number of processes changed during the run ({in_turn}); the command uses {counts[0]}")
    return lines


def main() -> None:
    """Print the command that repeats a run; differences to the present go to standard error."""
    parser = OneLineParser(
        prog="python -m tools.reproduce",
        description="Print the command that repeats a run, and what has changed since: commit, versions, device.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m tools.reproduce saved/digits/ir40/models/NAME/RUN",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the run, or a checkpoint in it")
    given = parser.parse_args().run_dir
    folder = given.parent if given.is_file() else given
    processes = read_processes(folder)
    path = folder / CONFIG_NAME
    config = ConfigParser.from_file(path)
    device = (
        choose_device(config.get("n_gpu", 1), DistributedContext())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
    changed = changes(processes, process_facts(device))
    for line in changed:
        print(f"warning: {line}", file=sys.stderr)
    if not changed:
        print("Nothing has changed since that run.", file=sys.stderr)
    commit = processes[-1].get("commit")
    if commit and any(line.startswith("commit:") for line in changed):
        print(f"git checkout {commit}")
    print(shlex.join([*launcher(processes), "train.py", "-c", str(path), *origin(processes, folder)]))


if __name__ == "__main__":
    run_main(main)

"""The command line that the speed benchmarks share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.alternating import Comparison, finish
from utils.config.command_line import OneLineParser, positive_integer
from utils.errors import run_main


def run_benchmark(description: str | None, parts: Mapping[str, Callable[[int], Comparison]]) -> None:
    """Read the flags, measure each part, print one table and keep the figures.

    Args:
        description: for --help.
        parts: title → what measures so many rounds.
    """

    def main() -> None:
        parser = OneLineParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        add = parser.add_argument
        add("--rounds", type=positive_integer, default=5, help="rounds in turns; default: 5")
        add("--threads", type=positive_integer, default=os.cpu_count(), help="default: one for each core")
        add("--out", type=Path, metavar="FILE", help="JSON of the figures")
        arguments = parser.parse_args()
        torch.set_num_threads(arguments.threads)
        found = []
        for number, (title, measured) in enumerate(parts.items(), start=1):
            print(f"{title} ({number} of {len(parts)}) …", flush=True)
            found.append(measured(arguments.rounds))
        finish(found, arguments.out)

    run_main(main)

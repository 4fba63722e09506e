"""Mean ± standard deviation over seeds, and which differences are beyond chance: `python -m tools.summary RUNS…`.

Runs that differ only in seed, name, place and hardware are a group. Each group's rows of results.json are summed up;
groups are compared by paired t tests over the seeds that both have, and by McNemar's exact test over the test images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.config.command_line import tool_parser
from utils.errors import run_main
from utils.slow_imports import slow_imports
from utils.standard_streams import say

EXAMPLES = """examples:
  python -m tools.summary saved/models/mine saved/models/theirs
  python -m tools.summary saved --format latex --out table.tex
  python -m tools.summary saved --format csv --metric ece"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    parser = tool_parser("tools.summary", "RUNS [RUNS …] [flags]", __doc__, EXAMPLES)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs, or folders that contain runs")
    add("--format", default="table", choices=("table", "csv", "markdown", "latex"), help="default: table")
    add("--metric", default="accuracy", metavar="NAME", help="that the paired t tests compare; default: accuracy")
    add("--out", type=Path, metavar="FILE", help="write it there; default: print it")
    return parser


def main() -> None:
    """Sum up, warn, and print or write."""
    arguments = build_parser().parse_args()
    with slow_imports():
        from trainer.summary.command import summarise  # noqa: PLC0415 - takes seconds
        from utils.files.writing import write_text  # noqa: PLC0415 - likewise
    text, warnings = summarise(arguments.runs, kind=arguments.format, metric=arguments.metric)
    for warning in warnings:
        say(f"warning: {warning}")
    if arguments.out is None:
        print(text, end="")
    else:
        write_text(arguments.out, text)
        print(f"Summary: {arguments.out}")


if __name__ == "__main__":
    run_main(main)

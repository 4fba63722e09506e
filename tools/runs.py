"""A list of runs: `python -m tools.runs FOLDER`.

Name, date, seed, method, data, epochs done, top-1 of the best and of the latest checkpoint that test.py was run on, and
path of every run below a folder. A run that is damaged is listed, with what is wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.summary.folders import run_folders
from trainer.summary.listing import COLUMNS, as_table, chosen, listed
from utils.config.command_line import tool_parser
from utils.errors import run_main

EXAMPLES = f"""columns:
  {", ".join(COLUMNS)}

examples:
  python -m tools.runs saved
  python -m tools.runs saved --sort last --filter 'method=BSExpertLoss*' --filter seed=1"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    parser = tool_parser("tools.runs", "FOLDER [flags]", __doc__, EXAMPLES)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="folder with runs in it, at any depth")
    add("--sort", metavar="COLUMN", help="dates, epochs and scores from the highest, others from the lowest")
    add(
        "--filter",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="only runs that show this; * and ? stand for any letters; several: all must hold",
    )
    return parser


def main() -> None:
    """Print the list."""
    arguments = build_parser().parse_args()
    chosen([], conditions=arguments.filter, column=arguments.sort)  # mistakes before reading
    runs = chosen(map(listed, run_folders([arguments.folder])), conditions=arguments.filter, column=arguments.sort)
    print(as_table(runs))


if __name__ == "__main__":
    run_main(main)

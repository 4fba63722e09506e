"""A page about a run that people look at: `python -m tools.report RUN`.

What was trained, how good it is, which classes are weak and how sure that is; curves, shifts, classes, calibration, and
the most confident mistakes with their images, in one HTML file without anything from a network. The pictures, and a
table of all classes, lie beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.config.command_line import OneLineParser
from utils.errors import run_main
from utils.signals import interrupts_end_at_once

EXAMPLES = """examples:
  python -m tools.report saved/demo/models/digits/RUN
  python -m tools.report RUN --out pages/digits.html"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    what, _, how = (__doc__ or "").partition("\n\n")
    parser = OneLineParser(
        prog="python -m tools.report",
        usage="%(prog)s RUN [--out FILE]",
        description=f"{what}\n\n{how.strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, with its config.json and results.json")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; default: report.html in the run's folder")
    return parser


def main() -> None:
    """Write the page and say where it is."""
    arguments = build_parser().parse_args()
    with interrupts_end_at_once():
        from trainer.report.page import write_report  # noqa: PLC0415 - takes seconds
    print(f"Report: {write_report(arguments.run, arguments.out)}")


if __name__ == "__main__":
    run_main(main)

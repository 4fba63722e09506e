"""A page about a run, or one that compares several: `python -m tools.report RUN [RUN …]`.

What was trained, how good it is, which classes are weak and how sure that is; curves, shifts, classes, calibration, and
the most confident mistakes with their images, in one HTML file without anything from a network. The pictures, and a
table of all classes, lie beside it. Of several runs: mean and deviation over seeds of each configuration, and in which
settings these differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.config.command_line import tool_parser
from utils.errors import run_main
from utils.slow_imports import slow_imports

EXAMPLES = """examples:
  python -m tools.report saved/demo/models/digits/RUN
  python -m tools.report RUN --out pages/digits.html
  python -m tools.report saved/models/mine saved/models/theirs --out comparison.html"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    parser = tool_parser("tools.report", "RUN [RUN …] [--out FILE]", __doc__, EXAMPLES)
    told = "folders of runs, with config.json and results.json, or folders that contain runs"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=told)
    where = "the page; default: report.html in the run's folder, comparison.html here for several"
    parser.add_argument("--out", type=Path, metavar="FILE", help=where)
    return parser


def main() -> None:
    """Write the page and say where it is."""
    arguments = build_parser().parse_args()
    with slow_imports():
        from trainer.report.compared_page import write_comparison  # noqa: PLC0415 - takes seconds
        from trainer.report.page import write_report  # noqa: PLC0415 - likewise
        from trainer.summary.folders import run_folders  # noqa: PLC0415 - likewise
    first, *others = arguments.runs
    is_run = any((first / name).exists() for name in ("config.json", "results.json"))
    folders = [first] if is_run and not others else run_folders(arguments.runs)
    if len(folders) == 1:
        page = write_report(folders[0], arguments.out)
    else:
        page = write_comparison(folders, arguments.out or Path("comparison.html"))
    print(f"Report: {page}")


if __name__ == "__main__":
    run_main(main)

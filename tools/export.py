"""One file of a trained ensemble for other programs: `python -m tools.export CHECKPOINT --format onnx`.

The file takes uint8 images in batches of any size and gives probabilities. Normalisation, all experts, their mean, a
calibration and a correction to another class prior are inside; class names, the resize rule and the checkpoint's digest
are in its metadata. It is compared with the checkpoint on test images before it is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.config.command_line import OneLineParser
from utils.config.parser import ConfigParser
from utils.errors import run_main
from utils.signals import interrupts_end_at_once

EXAMPLES = """examples:
  python -m tools.export saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth --format torch
  python -m tools.export CHECKPOINT --format onnx --calibration stored --prior prior.csv --out model.onnx"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    what, _, how = (__doc__ or "").partition("\n\n")
    parser = OneLineParser(
        prog="python -m tools.export",
        usage="%(prog)s CHECKPOINT --format torch|onnx [flags]",
        description=f"{what}\n\n{how.strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("resume", metavar="CHECKPOINT", help="the checkpoint; its config.json lies beside it")
    add(
        "--format",
        required=True,
        choices=("torch", "onnx"),
        help="torch: an exported program (.pt2), which PyTorch alone runs; onnx: for ONNX Runtime, needs the packages "
        "onnx, onnxscript and onnxruntime",
    )
    add(
        "--prior",
        type=Path,
        metavar="FILE",
        help="CSV or JSON of the class frequencies where the file will be used; log π_test − log π_home is added",
    )
    add(
        "--calibration",
        default="none",
        metavar="none|stored|FILE",
        help="none (default); stored: the one beside the checkpoint, as tools.calibrate writes it; or such a file",
    )
    add("--out", type=Path, metavar="FILE", help="default: beside the checkpoint, named like it, .pt2 or .onnx")
    add("-c", "--config", metavar="FILE", help="an edited copy of the config.json, where the data lie elsewhere now")
    return parser


def main() -> None:
    """Export the checkpoint."""
    arguments = build_parser().parse_args()
    parser = ConfigParser.from_args(arguments)
    with interrupts_end_at_once():
        from trainer.inference.export_command import export  # noqa: PLC0415 - takes seconds
    export(parser, arguments)


if __name__ == "__main__":
    run_main(main)

"""One file of a trained ensemble for other programs: `python -m tools.export CHECKPOINT --format onnx`.

The file takes uint8 images in batches of any size and gives probabilities. Normalisation, all experts, their mean, a
calibration and a correction to another class prior are inside; class names, the resize rule and the checkpoint's digest
are in its metadata. It is compared with the checkpoint on real images before it is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.evaluation.calibration_flag import add_calibration_flag
from utils.config.checkpoint_flags import add_weights_flag, checkpoint_parser
from utils.config.parser import ConfigParser
from utils.errors import run_main
from utils.slow_imports import slow_imports

EXAMPLES = """examples:
  python -m tools.export saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth --format torch
  python -m tools.export CHECKPOINT --format onnx --calibration stored --prior prior.csv --out model.onnx"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    parser = checkpoint_parser("tools.export", "CHECKPOINT --format torch|onnx [flags]", __doc__, EXAMPLES)
    add = parser.add_argument
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
    add_calibration_flag(parser)
    add_weights_flag(parser)
    add(
        "--check-on",
        nargs="+",
        metavar="IMAGES",
        help="files, folders, lists or patterns of images to compare file and checkpoint on (default: the run's test "
        "images)",
    )
    add("--out", type=Path, metavar="FILE", help="default: beside the checkpoint, named like it, .pt2 or .onnx")
    return parser


def main() -> None:
    """Export the checkpoint."""
    arguments = build_parser().parse_args()
    parser = ConfigParser.from_args(arguments)
    with slow_imports():
        from trainer.inference.export_command import export  # noqa: PLC0415 - takes seconds
    export(parser, arguments)


if __name__ == "__main__":
    run_main(main)

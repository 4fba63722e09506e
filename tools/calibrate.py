"""Calibrate a checkpoint's predictors on held-out images: `python -m tools.calibrate CHECKPOINT`.

Logits z become z/T (ts), z/T + b (bcts) or a·z + b (vs), fitted to the images that training held out
(data_loader.args.validation_split), for the ensemble and each expert. What is fitted is written beside the checkpoint,
for `--calibration stored`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.evaluation.calibration_flag import METHODS
from utils.config.checkpoint_flags import add_run_flags, checkpoint_parser, read_run
from utils.errors import run_main
from utils.slow_imports import slow_imports

EXAMPLES = """examples:
  python train.py -c configs/digits/config_digits_ir40_bs-experts.json --set data_loader.args.validation_split=0.15
  python -m tools.calibrate saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth
  python test_all_cifar.py -r saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth --calibration stored

methods:
  ts     one temperature T: no prediction changes
  bcts   a temperature, and a bias b for each class, drawn to 0 where a class has few held-out images
  vs     a scale a and a bias b for each class, drawn to their mean likewise
  sts    a temperature, and a factor that grows with the distance of the test prior from the predictor's own
  Without --method: sts for predictors at home on a long tail; for others the one with the lowest NLL on images that it
  was not fitted to; one of more numbers has to be better by a standard error."""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    parser = checkpoint_parser(
        "tools.calibrate",
        "CHECKPOINT [--method ts|bcts|vs|sts] [flags]",
        __doc__,
        EXAMPLES,
        checkpoint="checkpoint of a run that held images out",
    )
    add = parser.add_argument
    add("--method", choices=METHODS, help="how; default: whichever held-out images speak for")
    add("--out", type=Path, metavar="FILE", help="write to this file (default: beside the checkpoint)")
    add_run_flags(parser)
    return parser


def main() -> None:
    """Fit, show, keep."""
    arguments = build_parser().parse_args()
    parser, environment = read_run(arguments)
    with slow_imports():
        from trainer.evaluation.calibrate_command import print_calibration  # noqa: PLC0415 - takes seconds
    print_calibration(parser, environment, arguments)


if __name__ == "__main__":
    run_main(main)

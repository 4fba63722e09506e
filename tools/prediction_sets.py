"""What a checkpoint's prediction sets are made of: `python -m tools.prediction_sets CHECKPOINT`.

How badly the right classes of labelled images fit that nothing else was fitted to. It is written beside the checkpoint,
for `python -m tools.predict CHECKPOINT IMAGES --sets`: a set has every class that fits no worse than right classes do.
The images are those that training held out (data_loader.args.validation_split), unless they chose the epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.config.checkpoint_flags import add_run_flags, checkpoint_parser, read_run
from utils.errors import run_main
from utils.slow_imports import slow_imports

EXAMPLES = """examples:
  python train.py -c configs/digits/config_digits_ir40_bs-experts.json --set data_loader.args.validation_split=0.15
  python -m tools.prediction_sets saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth
  python -m tools.predict saved/digits/ir40/models/NAME/RUN/checkpoint-epoch60.pth images/ --sets 0.1"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    parser = checkpoint_parser("tools.prediction_sets", "CHECKPOINT [--labelled FOLDER] [flags]", __doc__, EXAMPLES)
    parser.add_argument(
        "--labelled",
        type=Path,
        metavar="FOLDER",
        help="other images than those held out in training, a folder for each class, named like it: drawn like the "
        "images to come, and used for nothing else",
    )
    add_run_flags(parser)
    return parser


def main() -> None:
    """Fit, show, keep."""
    arguments = build_parser().parse_args()
    parser, environment = read_run(arguments)
    with slow_imports():
        from trainer.inference.sets_command import print_sets  # noqa: PLC0415 - takes seconds
    print_sets(parser, environment, arguments)


if __name__ == "__main__":
    run_main(main)

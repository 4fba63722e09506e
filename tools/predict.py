"""Classes of new images: `python -m tools.predict CHECKPOINT IMAGES…`.

Neither the training nor the test images are needed: class names, class counts and how images are brought to the
network's size come from the checkpoint and the config.json beside it. An image that can't be read is named, the others
are answered, and the exit code is 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.evaluation.calibration_flag import add_calibration_flag
from utils.config.checkpoint_flags import add_weights_flag, checkpoint_parser
from utils.config.parser import ConfigParser
from utils.errors import UserError, run_main
from utils.slow_imports import slow_imports

EXAMPLES = """examples:
  python -m tools.predict CHECKPOINT photo.jpg more_photos/ --out predictions.csv --contact-sheet predictions.png
  python -m tools.predict CHECKPOINT 'images/**/*.png' --prior auto --calibration stored --reject-below 0.5
  python -m tools.predict CHECKPOINT images/ --sets 0.05 --out predictions.json

images:
  files; folders, with all images below them; .txt lists, a path in each line; patterns such as 'images/**/*.png'"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    parser = checkpoint_parser("tools.predict", "CHECKPOINT IMAGES… [flags]", __doc__, EXAMPLES)
    add = parser.add_argument
    add("images", metavar="IMAGES", nargs="+", help="what to classify")
    add(
        "--prior",
        metavar="NAME|FILE",
        help="class prior of these images: none (default), auto (estimated from all of them) or another estimate (em, "
        "map-em, tilt), or a CSV or JSON of it",
    )
    add_calibration_flag(parser)
    add_weights_flag(parser)
    add(
        "--sets",
        nargs="?",
        type=float,
        const=0.1,
        metavar="ALPHA",
        help="prediction sets, too, of which at most the part ALPHA misses the right class (default 0.1); "
        "python -m tools.prediction_sets CHECKPOINT makes them possible, once",
    )
    add("--topk", type=int, default=5, metavar="K", help="classes to name for each image (default 5)")
    add("--reject-below", type=float, metavar="P", help="give no class to images whose probability is below P")
    add("--out", type=Path, metavar="FILE", help="write the table as .csv, .json or .parquet")
    add(
        "--contact-sheet",
        type=Path,
        metavar="FILE",
        help="write the first images, as the network sees them, with their classes as .png, .pdf, .svg or .html",
    )
    return parser


def main() -> None:
    """Classify the images."""
    arguments = build_parser().parse_args()
    if arguments.topk < 1:
        raise UserError(f"--topk {arguments.topk}: must be at least 1")
    if arguments.reject_below is not None and not 0 <= arguments.reject_below <= 1:
        raise UserError(f"--reject-below {arguments.reject_below}: must lie in 0 … 1")
    if arguments.sets is not None and not 0 < arguments.sets < 1:
        raise UserError(f"--sets {arguments.sets:g}: must lie above 0 and below 1")
    parser = ConfigParser.from_args(arguments)
    with slow_imports():
        from trainer.inference.predict_command import print_predictions  # noqa: PLC0415 - takes seconds
    print_predictions(parser, arguments)


if __name__ == "__main__":
    run_main(main)

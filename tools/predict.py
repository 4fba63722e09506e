"""Classes of new images: `python -m tools.predict CHECKPOINT IMAGES…`.

Neither the training nor the test images are needed: class names, class counts and how images are brought to the
network's size come from the checkpoint and the config.json beside it. An image that can't be read is named, the others
are answered, and the exit code is 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utils.config.command_line import OneLineParser
from utils.config.parser import ConfigParser
from utils.errors import UserError, run_main
from utils.signals import interrupts_end_at_once

EXAMPLES = """examples:
  python -m tools.predict CHECKPOINT photo.jpg more_photos/ --out predictions.csv --contact-sheet predictions.png
  python -m tools.predict CHECKPOINT 'images/**/*.png' --prior auto --calibration stored --reject-below 0.5

images:
  files; folders, with all images below them; .txt lists, a path in each line; patterns such as 'images/**/*.png'"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this command."""
    what, _, how = (__doc__ or "").partition("\n\n")
    parser = OneLineParser(
        prog="python -m tools.predict",
        usage="%(prog)s CHECKPOINT IMAGES… [flags]",
        description=f"{what}\n\n{how.strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("resume", metavar="CHECKPOINT", help="the checkpoint; its config.json lies beside it")
    add("images", metavar="IMAGES", nargs="+", help="what to classify")
    add(
        "--prior",
        metavar="NAME|FILE",
        help="class prior of these images: none (default), auto (estimated from all of them) or another estimate (em, "
        "map-em, tilt), or a CSV or JSON of it",
    )
    add(
        "--calibration",
        default="none",
        metavar="none|stored|FILE",
        help="none (default); stored: the one beside the checkpoint, as tools.calibrate writes it; or such a file",
    )
    add(
        "--weights", default="raw", metavar="NAME", help="raw (default), or averaged, where the method averages weights"
    )
    add("--topk", type=int, default=5, metavar="K", help="classes to name for each image (default 5)")
    add("--reject-below", type=float, metavar="P", help="give no class to images whose probability is below P")
    add("--out", type=Path, metavar="FILE", help="write the table as .csv, .json or .parquet")
    add(
        "--contact-sheet",
        type=Path,
        metavar="FILE",
        help="write the first images with their classes as .png, .pdf, .svg",
    )
    add("-c", "--config", metavar="FILE", help="an edited copy of the config.json")
    return parser


def main() -> None:
    """Classify the images."""
    arguments = build_parser().parse_args()
    if arguments.topk < 1:
        raise UserError(f"--topk {arguments.topk}: must be at least 1")
    if arguments.reject_below is not None and not 0 <= arguments.reject_below <= 1:
        raise UserError(f"--reject-below {arguments.reject_below}: must lie in 0 … 1")
    parser = ConfigParser.from_args(arguments)
    with interrupts_end_at_once():
        from trainer.inference.predict_command import print_predictions  # noqa: PLC0415 - takes seconds
    print_predictions(parser, arguments)


if __name__ == "__main__":
    run_main(main)

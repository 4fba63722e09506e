"""What `--calibration` may be; nothing here takes seconds to import."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError, nearest

WORDS = ("none", "stored")
METHODS = ("ts", "bcts", "vs", "sts")


def add_calibration_flag(parser: argparse.ArgumentParser) -> None:
    """--calibration, of all commands that use a fitted one."""
    parser.add_argument(
        "--calibration",
        type=checked_choice,
        default="none",
        metavar="none|stored|FILE",
        help="calibrate the logits first: none (default); stored: as python -m tools.calibrate CHECKPOINT has fitted "
        "it to images held out from training; or another file of that command's",
    )


def checked_choice(given: str, words: Sequence[str] = WORDS) -> str:
    """One of `words`, or a file that may hold a calibration.

    Raises:
        UserError: neither.
    """
    path = Path(given)
    if given not in words and not path.suffix and not path.exists():
        raise UserError(f"--calibration {given}: give {', '.join(words)} or a JSON file{nearest(given, words)}")
    return given

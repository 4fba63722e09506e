"""What `--calibration` may be; nothing here takes seconds to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError, nearest

WORDS = ("none", "stored")
METHODS = ("ts", "bcts", "vs", "sts")


def checked_choice(given: str, words: Sequence[str] = WORDS) -> str:
    """One of `words`, or a file that may hold a calibration.

    Raises:
        UserError: neither.
    """
    path = Path(given)
    if given not in words and not path.suffix and not path.exists():
        raise UserError(f"--calibration {given}: give {', '.join(words)} or a JSON file{nearest(given, words)}")
    return given

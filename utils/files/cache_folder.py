"""The user's cache folder: what can be made anew at any time, kept since making it takes seconds."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

_logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where this project's files in it lie; the folder need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "balpoe"


def keep_whole(kept: Path, content: bytes) -> None:
    """Put a file where the next process finds it whole; nowhere where that can't be written to."""
    beside = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(kept)
    except OSError as error:
        _logger.debug("%s can't be kept: %s", kept, error)
        with suppress(OSError):
            beside.unlink()

"""The user's cache folder: what can be made anew at any time, kept since making it takes seconds."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

_logger = logging.getLogger(__name__)


def kept_file(name: str) -> Path | None:
    """Where a file of this name is kept, if it is; None where the user has no home folder, as in some containers."""
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(caches) / "balpoe" / name


def keep_whole(kept: Path, content: bytes) -> None:
    """Keep a file so that the next process finds it whole; nothing happens where that can't be written to."""
    beside = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(kept)
    except OSError as error:
        _logger.debug("%s can't be kept: %s", kept, error)
        with suppress(OSError):
            beside.unlink()

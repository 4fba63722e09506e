"""The user's cache folder: what can be made anew at any time, and is cached since making it takes seconds."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from utils.errors import UserError
from utils.files.writing import write_bytes

_logger = logging.getLogger(__name__)


def cached_file(name: str) -> Path | None:
    """Where a file of this name is, if it is cached; None where the user has no home folder, as in some containers."""
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(caches) / "balpoe" / name


def write_cached(path: Path, content: bytes) -> None:
    """Write a cached file so that other processes find it whole; nothing happens where it can't be written."""
    try:
        write_bytes(path, content)
    except UserError as error:
        _logger.debug("isn't cached: %s", error)

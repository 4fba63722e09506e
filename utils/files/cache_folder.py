"""The user's cache folder: what can be made anew at any time, and is cached since making it takes seconds."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

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
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        _logger.debug("%s isn't cached: %s", path, error)
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()

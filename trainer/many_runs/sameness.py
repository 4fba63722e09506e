"""What a configuration trains, as a value that can be compared and looked up: which of many folders is whose."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainer.config.run_config import RunConfig
from trainer.continuation import WHERE_NOT_WHAT
from utils.config.differences import with_defaults
from utils.config.json_files import read_json
from utils.config.parser import CONFIG_NAME
from utils.errors import UserError


def what_is_trained(config: Mapping[str, Any]) -> Hashable:
    """Equal for two configurations of one run: they differ in nothing, or in where it is trained."""
    full = with_defaults(config, RunConfig)
    for path in WHERE_NOT_WHAT:
        *parents, last = path.split(".")
        section: Any = full
        for name in parents:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(last, None)
    return _hashable(full)


def trains_in(folder: Path) -> Hashable | None:
    """`what_is_trained` of the configuration in a run's folder; None: there is none that can be read."""
    path = folder / CONFIG_NAME
    try:
        return _of_file(path, path.stat().st_mtime_ns)
    except (OSError, UserError):
        return None


@lru_cache(maxsize=100_000)  # each of many runs looks for its own folder among those of all
def _of_file(path: Path, changed: int) -> Hashable:
    return what_is_trained(read_json(path))


def _hashable(value: Any) -> Hashable:
    """Plain data, in which 1 and 1.0 are the same, and 1 and true are not."""
    if isinstance(value, dict):
        return tuple(sorted((key, _hashable(item)) for key, item in value.items()))
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    whole = isinstance(value, float) and value.is_integer()
    return (isinstance(value, bool), int(value) if whole else value)

"""Which folders hold runs; without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from utils.errors import UserError
from utils.files.checkpoint_names import checkpoint_position

_MARKS = {"config.json", "run.json", "results.json", "model_best.pth"}
"""A folder with any of these, or with a checkpoint, is a run's, however damaged."""


def run_folders(places: Iterable[Path]) -> list[Path]:
    """Folders of runs among `places` and below them, each once, sorted by their paths.

    Folders within a run's are not looked at, nor are links to folders followed.

    Raises:
        UserError: a place is no folder, or there is no run in any of them.
    """
    found: dict[Path, None] = {}
    places = list(places)
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: {'is no folder' if place.exists() else 'no such folder'}")
        inside = []
        for folder, inner, names in os.walk(place):
            if any(name in _MARKS or checkpoint_position(name) is not None for name in names):
                inside.append(Path(folder))
                inner.clear()
        found |= dict.fromkeys(sorted(inside))
    if not found:
        raise UserError(
            f"{', '.join(map(str, places))}: no run in there (no folder with a config.json or a checkpoint)"
        )
    by_place = {folder.resolve(): folder for folder in reversed(found)}
    return [folder for folder in found if by_place[folder.resolve()] == folder]

"""Which image files a command's arguments name."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from data_loader.datasets.folder_walk import FolderWalk
from utils.errors import UserError


def image_files(given: Sequence[str]) -> list[str]:
    """The image files that paths, folders (with those in them), lists (.txt, a path a line) and globs name, each once.

    Raises:
        UserError: one of them names none.
    """
    found: dict[str, None] = {}
    for name in given:
        path = Path(name)
        if path.is_dir():
            files = FolderWalk().images_below(path)
        elif path.suffix.lower() == ".txt" and path.is_file():
            files = _listed(path)
        elif path.exists():
            files = [name]
        else:
            files = sorted(glob.glob(name, recursive=True))
        if not files:
            raise UserError(f"{name}: names no image files")
        found |= dict.fromkeys(files)
    return list(found)


def _listed(path: Path) -> list[str]:
    """The paths in a text file, a line each, from the folder that the file is in."""
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return [str(path.parent / line.strip()) for line in lines if line.strip()]

"""Names of a run's checkpoints: `checkpoint-epoch3.pth`, `checkpoint-epoch3-step40.pth`."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"checkpoint-epoch(\d{1,18})(?:-step(\d{1,18}))?\.pth")


def checkpoint_name(epoch: int, step: int = 0) -> str:
    """The file of a run that has completed `epoch` epochs and `step` steps of the next.

    A checkpoint within an epoch bears the number of that epoch: `checkpoint-epoch3-step40.pth` is 40 steps into it.
    """
    return f"checkpoint-epoch{epoch + 1}-step{step}.pth" if step else f"checkpoint-epoch{epoch}.pth"


def checkpoint_position(name: str) -> tuple[int, int] | None:
    """(epochs completed, steps of the next), from a checkpoint's name; None for another file's name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    epoch, step = int(match[1]), int(match[2] or 0)
    return (epoch - 1, step) if step else (epoch, 0)


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first; `model_best.pth` is none of them."""
    positions = {path: checkpoint_position(path.name) for path in folder.glob("checkpoint-epoch*.pth")}
    found = [(position, path) for path, position in positions.items() if position is not None]
    return [path for _, path in sorted(found, reverse=True)]

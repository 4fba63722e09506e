"""A run's folder: its checkpoints by age, and a lock so that no two processes train in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from utils.errors import UserError
from utils.files.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from utils.files.checkpoint_names import checkpoint_position, checkpoints_of
from utils.files.locks import remove_leftovers, take_lock

BEST_NAME = "model_best.pth"
_KEPT_STEP_CHECKPOINTS = 2  # the newest, and one before it in case the newest turns out damaged
_WRITTEN = ("*.pth", "config.json", "run.json")  # by the process that has the lock

logger = logging.getLogger(__name__)


class RunFolder:
    """The files of one run.

    Args:
        path: the folder, which exists.
        keep_last: keep this many of the checkpoints at the ends of epochs; 0: all.
    """

    def __init__(self, path: Path, *, keep_last: int = 0) -> None:
        self.path = path
        self.keep_last = keep_last
        self._lock: BaseFileLock | None = None

    def lock(self) -> bool:
        """Take the folder for this process, until `with` ends; false where another process has it.

        What a process that was killed has left half-written is removed.

        Raises:
            UserError: the folder can't be written to.
        """
        self._lock = take_lock(self.path / ".lock")
        if self._lock is None:
            return False
        remove_leftovers(self._lock, _WRITTEN)
        return True

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        """Give the folder back to other processes."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def checkpoints(self) -> list[Path]:
        """Checkpoints that a run can be continued from, newest first."""
        return checkpoints_of(self.path)

    def newest_good(
        self, check: Callable[[Mapping[str, Any], Path], None] = lambda content, path: None
    ) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that is intact, and its content; damaged ones are skipped with a warning.

        Args:
            check: raises a `CheckpointError` where a content is of no use.
        """
        for path in self.checkpoints():
            try:
                content = load_checkpoint(path)
                check(content, path)
                return path, content
            except CheckpointError as error:
                logger.warning("%s; trying the one before.", error)
        return None

    def save(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a checkpoint; afterwards those that it makes superfluous are removed."""
        path = self.path / name
        save_checkpoint(path, dict(content))
        if (position := checkpoint_position(name)) is not None:
            self._remove_superfluous(position)
        return path

    def _remove_superfluous(self, newest: tuple[int, int]) -> None:
        positions = [(path, checkpoint_position(path.name) or (0, 0)) for path in self.checkpoints()]
        older = [(path, step) for path, (epoch, step) in positions if (epoch, step) <= newest]
        within_epochs = [path for path, step in older if step]
        at_ends = [path for path, step in older if not step]
        kept = _KEPT_STEP_CHECKPOINTS if newest[1] else 0
        for path in within_epochs[kept:] + (at_ends[self.keep_last :] if self.keep_last else []):
            path.unlink(missing_ok=True)


def locked(folder: RunFolder) -> RunFolder:
    """The folder, taken for this process.

    Raises:
        UserError: another process trains in it.
    """
    if not folder.lock():
        raise UserError(f"{folder.path}: another process is training in this folder")
    return folder

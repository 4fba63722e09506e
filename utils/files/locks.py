"""Locks between processes: a file that one of them holds at a time, by `filelock`, which PyTorch brings along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from utils.errors import UserError

_PATIENCE = 60.0  # seconds; what is written under a lock takes a few


def take_lock(path: Path) -> BaseFileLock | None:
    """The lock at `path`, taken; None where another process has it. It ends with `release`, or with the process.

    Raises:
        UserError: the folder can't be written to.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except OSError as error:
        raise _unwritable(path.parent, error) from None
    return lock


@contextmanager
def only_writer(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Write files of a folder while no other process does, having waited for the one that was at it.

    What a process that was killed has left half-written of the files is removed.

    Args:
        folder: with the lock, `.writing.lock`.
        names: of the files.

    Raises:
        UserError: another process has held the lock for a minute, or the folder can't be written to.
    """
    lock = FileLock(folder / ".writing.lock")
    try:
        with lock.acquire(timeout=_PATIENCE):
            for name in names:
                for leftover in folder.glob(f".{name}.*"):
                    leftover.unlink(missing_ok=True)
            yield
    except Timeout:
        raise UserError(
            f"{folder}: another process has been writing there for {_PATIENCE:.0f} s; does it hang?"
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder}: can't be written to: {error.strerror or error}")

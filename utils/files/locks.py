"""Locks between processes: a file that one of them holds at a time, by `filelock`, which PyTorch brings along."""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from utils.errors import UserError
from utils.files.writing import usual_rights

_PATIENCE = 60.0  # seconds; what is written under a lock takes a few
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

logger = logging.getLogger(__name__)


def take_lock(path: Path, *, patience: float = 0.0) -> BaseFileLock | None:
    """The lock at `path`, taken; None where another process has it. It ends with `release`, or with the process.

    On a file system without locks (some network file systems) a warning says so, and it is not taken.

    Args:
        path: a file, which is made.
        patience: seconds to wait for the other process.

    Raises:
        UserError: the folder can't be written to.
    """
    lock = _lock(path)
    try:
        _acquire(lock, timeout=patience)
    except Timeout:
        return None
    except OSError as error:
        raise _untakeable(lock, error) from None
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
    lock = _lock(folder / ".writing.lock")
    try:
        _acquire(lock, timeout=_PATIENCE)
    except Timeout:
        raise UserError(
            f"{folder}: another process has been writing there for {_PATIENCE:.0f} s; does it hang?"
        ) from None
    except OSError as error:
        raise _untakeable(lock, error) from None
    try:
        remove_leftovers(lock, names)
        yield
    except OSError as error:
        raise UserError(f"{folder}: can't be written to: {error.strerror or error}") from None
    finally:
        lock.release()


def remove_leftovers(lock: BaseFileLock, names: Iterable[str]) -> None:
    """Remove what a process that was killed has left half-written of files beside a lock, where that is held."""
    if not lock.is_locked:  # the file system has no locks: it may be another's, who is at it
        return
    for name in names:
        for leftover in Path(lock.lock_file).parent.glob(f".{name}.*"):
            leftover.unlink(missing_ok=True)


def _lock(path: Path) -> BaseFileLock:
    """A lock that whoever may write to the folder can take.

    Where the file system has no locks, `filelock` would keep a file instead; a process that is killed leaves it, and
    one on another machine, where a batch system starts it again, would wait for ever.
    """
    rights = usual_rights()
    try:
        return FileLock(path, mode=rights, fallback_to_soft=False)
    except TypeError:  # an earlier version of it: without a file instead
        return FileLock(path, mode=rights)


def _acquire(lock: BaseFileLock, *, timeout: float) -> None:
    """Take a lock, where the file system has any.

    Raises:
        Timeout: another process has it.
        OSError: the file can't be written.
    """
    try:
        lock.acquire(timeout=timeout)
    except (OSError, NotImplementedError) as error:  # the second: earlier versions of filelock
        if isinstance(error, Timeout) or (isinstance(error, OSError) and error.errno not in _NO_LOCKS):
            raise
        _tell_no_locks(Path(lock.lock_file).parent)


@functools.cache
def _tell_no_locks(folder: Path) -> None:
    """Once a folder."""
    logger.warning("warning: %s: its file system has no locks: let no two processes write there at once", folder)


def _untakeable(lock: BaseFileLock, error: OSError) -> UserError:
    return UserError(f"{lock.lock_file}: can't be written to: {error.strerror or error}")

"""One process at a time trains a run, from before it looks for the newest checkpoint: one started again waits."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock

from trainer.many_runs.sameness import what_is_trained
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.errors import UserError
from utils.files.locks import take_lock

_PATIENCE = 300.0  # seconds; a machine that its cluster has given up notices, or loses its locks, within two minutes

logger = logging.getLogger(__name__)


@contextmanager
def one_at_a_time(config: ConfigParser, distributed: DistributedContext) -> Iterator[None]:
    """Around the training of a run by `-r auto`: no other process trains it meanwhile, on whatever machine.

    A cluster that takes a machine for dead starts its run on another, while the first process may still be writing its
    last checkpoint. The second waits for its end and goes on from there; else both would train the same epochs.

    Raises:
        UserError: the other process hasn't ended in five minutes, or the runs' folder can't be written to.
    """
    lock = None
    with distributed.main_first():
        if distributed.is_main and config.resumes_automatically:
            lock = _wait_for(config)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def lock_of(config: ConfigParser) -> Path:
    """The file that stands for a run: one for all configurations that train the same, wherever they do."""
    what = repr(what_is_trained(config.config))
    return config.runs_folder() / f".{hashlib.sha256(what.encode()).hexdigest()[:16]}.lock"


def _wait_for(config: ConfigParser) -> BaseFileLock | None:
    """The lock, taken; None where no run has been begun yet, and on a file system without locks."""
    path = lock_of(config)
    if not path.parent.is_dir():
        return None
    lock = take_lock(path)
    if lock is None:
        logger.warning("%s: another process is training this run; waiting for it to end", path.parent)
        lock = take_lock(path, patience=_PATIENCE)
    if lock is None:
        raise UserError(
            f"{path.parent}: another process has been training this run for {_PATIENCE:.0f} s and more; does it hang? "
            f"({path})"
        )
    return lock

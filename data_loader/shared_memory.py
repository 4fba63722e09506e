"""The memory that loader processes hand batches over in; a container has 64 MB of it unless it is told otherwise."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

_FOLDER = Path("/dev/shm")  # where Linux has it; other systems have no limit of its own
FULL = f"{_FOLDER} is full (docker run --shm-size=… sets its size)"
_MIB = 2**20
_IN_USE = 2  # batches that the run itself has: the one it works on, and the next, for which it gives up the first
_PIPES = "batches come through pipes instead, which is slower"
_ADVICE = "give a container more (docker run --shm-size=%s) or take fewer data_loader.args.num_workers"

logger = logging.getLogger(__name__)


def has_shared_memory(workers: int, batches: int, batch_bytes: int) -> bool:
    """Whether the batches that wait to be used, and those in use, fit; else a warning says what to do.

    Args:
        workers: processes that read, 1 at least.
        batches: that each of them reads in advance.
        batch_bytes: of a batch.
    """
    needed, free = (workers * batches + _IN_USE) * batch_bytes, _total_and_free()[1]
    if free is None or needed <= free:
        return True
    logger.warning(
        f"warning: %s has %d MiB free, but (%d workers x %d + %d) batches of %.1f MiB take %d MiB: {_PIPES}; {_ADVICE}",
        _FOLDER,
        free // _MIB,
        workers,
        batches,
        _IN_USE,
        batch_bytes / _MIB,
        -(-needed // _MIB),
        f"{2 * -(-needed // _MIB)}m",
    )
    return False


def tell_full() -> None:
    """Warn that a batch did not fit, though it should have: others use the shared memory, too."""
    where = f" ({state})" if (state := _state()) else ""
    logger.warning(f"warning: a batch did not fit into shared memory%s: {_PIPES}; {_ADVICE}", where, "…")


def shortage() -> str:
    """What is said besides of a lost worker where less than a tenth is free; else nothing."""
    total, free = _total_and_free()
    return f"{_state()} (docker run --shm-size sets it), " if free is not None and free < total / 10 else ""


def _state() -> str:
    """How much is free, in words; nothing where the system sets no limit."""
    total, free = _total_and_free()
    return "" if free is None else f"{_FOLDER} has {free // _MIB} of {total // _MIB} MiB free"


def _total_and_free() -> tuple[int, int | None]:
    """Bytes; no number of free ones where the system sets no limit."""
    if not _FOLDER.is_dir():
        return 0, None
    usage = shutil.disk_usage(_FOLDER)
    return usage.total, usage.free

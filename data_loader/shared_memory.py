"""The memory that loader processes hand batches over in; a container has 64 MB of it unless it is told otherwise."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

_FOLDER = Path("/dev/shm")  # where Linux has it; other systems have no limit of its own
_MIB = 2**20

logger = logging.getLogger(__name__)


def free_shared_memory() -> int | None:
    """Bytes that are free; None where the system sets no limit."""
    return shutil.disk_usage(_FOLDER).free if _FOLDER.is_dir() else None


def has_shared_memory(workers: int, batches: int, batch_bytes: int) -> bool:
    """Whether the batches that wait to be used fit; else a warning says what to do.

    Args:
        workers: processes that read.
        batches: that each of them reads in advance.
        batch_bytes: of a batch.
    """
    needed, free = workers * batches * batch_bytes, free_shared_memory()
    if free is None or needed <= free:
        return True
    logger.warning(
        "warning: %s has %d MiB free, but %d workers x %d batches x %.1f MiB take %d MiB: batches come through pipes "
        "instead, which is slower; give a container more (docker run --shm-size=%dm) or take fewer "
        "data_loader.args.num_workers",
        _FOLDER,
        free // _MIB,
        workers,
        batches,
        batch_bytes / _MIB,
        -(-needed // _MIB),
        2 * -(-needed // _MIB),
    )
    return False


def shortage() -> str:
    """What is said besides of a lost worker where less than a tenth is free; else nothing."""
    if not _FOLDER.is_dir():
        return ""
    total, _, free = shutil.disk_usage(_FOLDER)
    told = f"{_FOLDER} has {free // _MIB} of {total // _MIB} MiB free (docker run --shm-size sets it), "
    return told if free < total / 10 else ""

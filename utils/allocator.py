"""The C library's allocator, told to keep what is freed for the next tensor of that size."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt(3)
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024  # bytes; glibc admits no more
_NEVER = 2**31 - 1  # bytes


def keep_freed_memory() -> None:
    """Don't give freed memory back to the system, which would have to clear each page of it anew at the next batch.

    To be called by a process that computes on a CPU, before it begins. Its memory stays at its peak until it ends.
    Where the C library isn't glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _NEVER)

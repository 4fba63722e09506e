"""Lack of memory, in the many ways in which Python, NumPy, PyTorch, oneDNN and CUDA tell it."""

from __future__ import annotations

import errno
import re

_TOLD = re.compile(
    r"DefaultCPUAllocator|std::bad_alloc|Cannot allocate memory|CUDA (driver )?error: out of memory"
    r"|_STATUS_ALLOC_FAILED|_DEVICE_ALLOCATION_FAILED|failed to map segment"
    r"|^could not create a (primitive|memory)( object)?\s*$",
    re.MULTILINE,
)
"""In a RuntimeError or ImportError; oneDNN's "could not create a primitive descriptor …" is another matter."""


def lack_of_memory(error: BaseException) -> str:
    """What was asked for in vain, in a line; "" where the error is about something else."""
    if isinstance(error, OSError):
        lacking = error.errno == errno.ENOMEM
    else:
        lacking = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # PyTorch's, of GPUs
        lacking = lacking or (isinstance(error, RuntimeError | ImportError) and bool(_TOLD.search(str(error))))
    return (str(error).strip() or type(error).__name__).splitlines()[0] if lacking else ""

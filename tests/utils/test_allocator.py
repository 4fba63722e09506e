"""Freed memory is kept: a tensor of the same size costs no new pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from utils.allocator import keep_freed_memory
if {kept}:
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def touch(megabytes):  # four pieces at once, so that more than a single one is freed at the end of the heap
    pieces = [libc.malloc(megabytes << 20) for _ in range(4)]
    for piece in pieces:
        ctypes.memset(piece, 1, megabytes << 20)
    for piece in reversed(pieces):
        libc.free(piece)
touch(20)
touch(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch(20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_a_second_tensor_of_the_same_size_costs_no_new_pages() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", PROGRAM.format(kept=kept)], capture_output=True, check=True).stdout)
        for kept in (True, False)
    )
    assert kept < 100 < 10_000 < given_back  # of 20,480 pages of 4 KiB

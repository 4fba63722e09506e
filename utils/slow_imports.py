"""Around imports that take seconds."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from utils.errors import EXIT_INTERRUPTED


@contextmanager
def slow_imports() -> Iterator[None]:
    """Around imports that take seconds: a Ctrl-C ends the process at once, and nothing looks for garbage.

    As an exception, the interrupt would pass through half-imported modules, some of which make another error of it.
    Cycles are looked for again and again among a million new objects, a tenth of the time; what the first such imports
    of a process have made isn't looked at later, either.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with _interrupts_end_at_once():
            yield
        if gc.get_freeze_count() == 0:
            gc.freeze()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _interrupts_end_at_once() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        os._exit(EXIT_INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # somebody else's concern already
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

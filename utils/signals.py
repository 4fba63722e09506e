"""Signals that end a run: noticed at once, obeyed between two steps, when a checkpoint can be written."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import util
from types import FrameType, TracebackType
from typing import Any

from utils.errors import EXIT_INTERRUPTED, EarlyEnd

_CODES = {"SIGTERM": 143, "SIGINT": EXIT_INTERRUPTED, "SIGUSR1": 0, "SIGHUP": 129}
EXIT_CODES = {signal.Signals[name]: code for name, code in _CODES.items() if hasattr(signal, name)}
"""Signals that end a run, as far as the system has them (Windows: the first two), and the exit codes."""


class RunStopped(EarlyEnd):
    """A run that ended on a signal, its checkpoint written."""

    prefix = ""

    def __init__(self, number: signal.Signals, message: str) -> None:
        super().__init__(message)
        self.exit_code = EXIT_CODES[number]


class SignalReceived(BaseException):
    """A signal that ends a run has come while `StopSignals.interrupting`."""


class StopSignals:
    """While open, the signals of `EXIT_CODES` are only noted.

    Args:
        second_interrupt_kills: a second SIGINT ends the process at once. Not so in one of several: the terminal sends
            each of them a SIGINT and their launcher passes its own on.
    """

    def __init__(self, *, second_interrupt_kills: bool = True) -> None:
        self.second_interrupt_kills = second_interrupt_kills
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._interrupts = False

    def __enter__(self) -> StopSignals:
        self._previous = replace_handlers(self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if number == signal.SIGINT and self.second_interrupt_kills:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._interrupts:
            self._interrupts = False
            raise SignalReceived

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Around what may wait for long and may be broken off anywhere: a signal raises `SignalReceived` in it."""
        self._interrupts = True
        try:
            if self.received is not None:
                raise SignalReceived
            yield
        finally:
            self._interrupts = False


def replace_handlers(
    handler: Callable[[int, FrameType | None], None],
) -> dict[signal.Signals, Any]:
    """Let `handler` have the signals that end a run; a SIGHUP that is ignored stays so: `nohup` has seen to that.

    Returns:
        signal → the handler before, for `signal.signal`.
    """
    ignored = signal.SIG_IGN
    ours = [number for number in EXIT_CODES if number.name != "SIGHUP" or signal.getsignal(number) is not ignored]
    return {number: signal.signal(number, handler) for number in ours}


def leave_all_to_the_parent(worker: int) -> None:
    """In a loader's worker process: the run ends when its main process says, and that process tells why.

    Batch systems signal every process. A worker's errors go to the main process with its batches; what Python would
    print here is of the thread that hands over a batch's memory, where the main process is gone before it has it.
    """
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = lambda *_: None


def may_end_workers() -> bool:
    """Whether this thread can kill a loader's process without torch taking it for a failure: the main thread only."""
    return threading.current_thread() is threading.main_thread()


def end_workers() -> None:
    """Kill the loaders' processes: they ignore SIGTERM, with which Python would end them and then wait for ever."""
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    if not workers or not may_end_workers():
        return
    with unnoticed_deaths():
        for process in workers:
            process.kill()
        for process in workers:
            process.join()


@contextmanager
def unnoticed_deaths() -> Iterator[None]:
    """Around the killing of loaders' processes, which torch's handler takes for a failure; in the main thread only.

    On a system without this signal torch has no handler.
    """
    number = getattr(signal, "SIGCHLD", None)
    handler = None if number is None else signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        if number is not None:
            signal.signal(number, handler)


def _end_workers_at_exit(_: object = None) -> None:
    util.Finalize(None, end_workers, exitpriority=100)


# Not by `atexit`: processes that multiprocessing has started, to train on further devices, run none of that. And what
# was registered before a fork is forgotten after it.
_end_workers_at_exit()
util.register_after_fork(end_workers, _end_workers_at_exit)

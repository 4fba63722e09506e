"""The loaders' processes: they end at once when nobody wants their batches any more."""

from __future__ import annotations

import copy
import errno
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any
from weakref import WeakKeyDictionary

from torch.utils.data import DataLoader

from data_loader.shared_memory import FULL
from utils.errors import RunError, reason_of
from utils.signals import end_workers, may_end_workers, unnoticed_deaths

_iterators: WeakKeyDictionary[DataLoader[Any], Iterator[Any]] = WeakKeyDictionary()
"""An iterator whose processes live is held here until its loader is gone, so that no reference cycle has it.

Within a cycle, such as that of an error and the frames that it has passed, the garbage collector would close the queues
to the processes first; torch could no longer ask them to end, and its threads would write into closed queues.
"""


def batches_of(loader: DataLoader[Any]) -> Iterator[Any]:
    """`iter(loader)`; the processes that it starts end with the loader, whatever has become of the iterator.

    Raises:
        RunError: the system doesn't let so many be started.
    """
    with _half_made_vanish_quietly():
        try:
            iterator = iter(loader)
            reason = ""
        except OSError as error:  # of processes, open files, or shared memory for their semaphores
            reason = FULL if error.errno == errno.ENOSPC else reason_of(error)
    if reason:
        end_workers()
        raise RunError(
            f"{loader.num_workers} loader processes can't be started ({reason}): take fewer of them "
            "(data_loader.args.num_workers, or --workers of data_loader.check), or 0"
        )
    if loader.num_workers:
        _iterators[loader] = iterator
    return iterator


@contextmanager
def _half_made_vanish_quietly() -> Iterator[None]:
    """Around the making of torch's iterator, whose finaliser complains in a traceback where that has failed."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook


class LoaderProcess(multiprocessing.Process):
    """A process that is killed where torch would wait for it.

    torch asks its workers to end and waits five seconds for each. One that is reading doesn't look, and it ignores the
    SIGTERM that follows: a batch system may have sent that.
    """

    def join(self, timeout: float | None = None) -> None:
        """Kill the process and wait until it is gone: its batches are of no use to anyone."""
        if self.is_alive() and may_end_workers():  # the first complains, as `join` does, in a copy of the parent
            with unnoticed_deaths():
                self.kill()
                super().join(timeout)
        else:
            super().join(timeout)

    def terminate(self) -> None:
        """Kill it."""
        self.kill()


def loader_processes() -> BaseContext:
    """The system's way of starting processes, for `DataLoader(multiprocessing_context=…)`, with `LoaderProcess`."""
    context = copy.copy(multiprocessing.get_context())
    vars(context)["Process"] = LoaderProcess
    return context

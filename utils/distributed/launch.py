"""One process for each GPU of this machine, by PyTorch's elastic launcher; for several machines there is torchrun."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from utils.errors import EXIT_USER_ERROR, run_main
from utils.signals import EXIT_CODES, replace_handlers

_NONE_OF_OURS = "SIGQUIT"  # the one signal that the launcher may handle in its own way; it insists on some


def start_processes(main: Callable[[], object], count: int) -> int:
    """Run `main` in `count` processes of this machine, each as torchrun would start it.

    A signal goes to all of them, and they end as one process does; a second SIGINT ends them at once.

    Args:
        main: a module's function.
        count: processes, 2 at least.

    Returns:
        the exit code: 0, or that of the process that failed first.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - takes a while
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))  # else each takes all cores
    for name in ("torch.distributed.elastic", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the processes speak for themselves
    how = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="spawn",
        signals_to_handle=_NONE_OF_OURS,
    )
    with _signals_passed_on() as received:
        try:
            elastic_launch(how, run_main)(main)
        except ChildFailedError as failed:
            return _exit_code(failed.failures.values(), received)
    return EXIT_CODES[received[0]] if received else 0


def _exit_code(failures: Iterable[Any], received: list[signal.Signals]) -> int:
    """That of a signal, else of the process that failed first; the others then fail for having lost it."""
    if received:
        return EXIT_CODES[received[0]] or 1
    first = min(failures, key=lambda failure: (failure.timestamp, failure.exitcode != EXIT_USER_ERROR))
    return max(first.exitcode, 1)  # negative for one that was killed


@contextmanager
def _signals_passed_on() -> Iterator[list[signal.Signals]]:
    """Hand the signals that end a run on to the processes; yields those received so far."""
    received: list[signal.Signals] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        last_word = received.count(signal.SIGINT) > 1
        for process in multiprocessing.active_children():
            if process.pid is not None:
                os.kill(process.pid, signal.SIGKILL if last_word else number)

    previous = replace_handlers(pass_on)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

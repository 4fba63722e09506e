"""A loader process that dies or hangs ends the run in one line that says so."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from data_loader.shared_memory import shortage
from utils.errors import RunError
from utils.signals import end_workers

_CONTINUE = "continue the run with -r from its newest checkpoint"
_TORCH_SAYS = re.compile(r"DataLoader (worker|timed out)|Pin memory thread exited")
_TOO_MANY_FILES = re.compile(r"Too many open files|received \d+ items of ancdata")


@contextmanager
def report_lost_workers(continue_by: str = _CONTINUE) -> Iterator[None]:
    """Around a loop over batches: the loss of a worker, or of the way to it, becomes a `RunError`.

    torch notices a dead worker by signal, so the loop's own body may be interrupted, too.

    Args:
        continue_by: how to go on, in words.
    """
    try:
        with _nothing_said_by_destructors():
            yield
    except (RuntimeError, EOFError, OSError) as error:  # EOFError, ConnectionError: it died while handing over a batch
        if _TOO_MANY_FILES.search(str(error)):
            end_workers()
            raise RunError(
                "too many files are open for the batches of so many loader processes: raise the limit (ulimit -n) or "
                f"take fewer data_loader.args.num_workers; {continue_by}"
            ) from None
        if not isinstance(error, (EOFError, ConnectionError)) and not _TORCH_SAYS.search(str(error)):
            raise
        end_workers()  # torch would wait ten seconds for one that hangs
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "its connection broke off"
        raise RunError(
            f"a loader process is lost ({reason}): {shortage()}it was killed (out of memory?) or hangs on a file; "
            f"{continue_by}, with fewer data_loader.args.num_workers or a longer worker_timeout"
        ) from None


@contextmanager
def _nothing_said_by_destructors() -> Iterator[None]:
    """torch's signal may interrupt a destructor, whose errors Python prints and forgets: the next batch fails, too."""
    hook = sys.unraisablehook

    def say(unraisable: sys.UnraisableHookArgs) -> None:
        if not _TORCH_SAYS.search(str(unraisable.exc_value)):
            hook(unraisable)

    sys.unraisablehook = say
    try:
        yield
    finally:
        sys.unraisablehook = hook

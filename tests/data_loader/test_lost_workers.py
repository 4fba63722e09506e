"""A loader process that dies or hangs ends the run in one line; batch systems' signals leave it alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys

import pytest

from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.lost_workers import report_lost_workers
from tests.forks import Fork
from utils.errors import RunError

QUIETLY = "import warnings; warnings.simplefilter('ignore')"  # torch's, of more workers than there are cores
LOSES_A_WORKER = """
import os, signal, sys, threading
from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.lost_workers import report_lost_workers
from utils.errors import run_main

FATES = {"dies": lambda: os.kill(os.getpid(), signal.SIGKILL), "hangs": threading.Event().wait}

def main():
    loader = ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True, worker_timeout=1.0)
    read, parent = loader.images.read, os.getpid()

    def lost(sample_ids):
        if 5 in sample_ids[:, 1] and os.getpid() != parent:  # one batch has the image 5
            FATES[sys.argv[1]]()
        return read(sample_ids)

    loader.images.read = lost
    with report_lost_workers():
        for _ in loader.epoch(1):
            pass

run_main(main)
"""


@pytest.mark.parametrize("fate", ["dies", "hangs"])
def test_a_worker_that_dies_or_hangs_is_reported_in_one_line(fate: str) -> None:
    ended = Fork("program", LOSES_A_WORKER, fate, before=QUIETLY).end()
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1, ended.err
    line = ended.err
    assert line.startswith("error: ")
    assert "a loader process is lost" in line
    assert "continue the run with -r" in line


KEEPS_ITS_WORKERS = """
from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader

loader = ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True)
batches = loader.epoch(1)
print(len(next(batches).sample_ids))
"""


def test_a_process_that_ends_with_workers_at_work_does_not_wait_for_them() -> None:
    """They ignore SIGTERM, and Python would send them that and wait."""
    ended = Fork("program", KEEPS_ITS_WORKERS, before=QUIETLY).end()
    assert (ended.code, ended.out, ended.err) == (0, "8\n", "")


def _keep_workers() -> None:
    global kept  # noqa: PLW0603 - alive when the process ends
    loader = ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True)
    kept = loader.epoch(1)
    next(kept)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_nor_does_one_that_multiprocessing_has_started() -> None:
    """Such processes run no `atexit` functions."""
    process = multiprocessing.get_context("fork").Process(target=_keep_workers)
    process.start()
    process.join(30)
    code = process.exitcode
    process.kill()
    process.join()
    assert code == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_no_worker_is_left_once_one_is_lost() -> None:
    """And the loaders that are made afterwards work as ever."""
    loader = ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True)
    with pytest.raises(RunError, match="a loader process is lost"), report_lost_workers():
        for _ in loader.epoch(1):
            os.kill(loader._torch_loader._iterator._workers[1].pid, signal.SIGKILL)  # type: ignore[union-attr]
    assert multiprocessing.active_children() == []
    fresh = ImbalanceDigitsDataLoader(batch_size=8, num_workers=1, randaugm=True)
    assert sum(len(batch.sample_ids) for batch in fresh.epoch(1)) == fresh.num_images


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_that_end_a_run_do_not_end_its_workers(number: signal.Signals) -> None:
    loader = ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True)
    undisturbed = [batch.sample_ids.tolist() for batch in loader.epoch(1)]
    read = []
    for batch in loader.epoch(1):
        for worker in loader._torch_loader._iterator._workers:  # type: ignore[union-attr]
            os.kill(worker.pid, number)
        read.append(batch.sample_ids.tolist())
    assert read == undisturbed


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="of another kind"), report_lost_workers():
        raise RuntimeError("of another kind")


class Raises:
    """Its destructor fails."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __del__(self) -> None:
        raise RuntimeError(self.message)


def test_torchs_signal_in_a_destructor_is_not_printed_and_other_errors_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: printed.append(str(unraisable.exc_value)))
    with report_lost_workers():
        Raises("DataLoader worker (pid 7) is killed by signal: Killed.")
        Raises("something else")
    Raises("DataLoader worker (pid 8) is killed by signal: Killed.")
    assert printed == ["something else", "DataLoader worker (pid 8) is killed by signal: Killed."]

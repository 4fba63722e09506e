"""The loaders' processes end at once when nobody wants their batches any more."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.worker_processes import LoaderProcess
from tests.forks import Fork
from utils.errors import UserError
from utils.signals import leave_all_to_the_parent

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class _Reads:
    """Stands in for `ImageSet.read`: does something else instead of one batch, in a worker."""

    def __init__(self, loader: ImbalanceDigitsDataLoader, image: int, instead: Callable[[], object]) -> None:
        self.read, self.image, self.instead = loader.images.read, image, instead
        loader.images.read = self  # type: ignore[method-assign]

    def __call__(self, sample_ids: np.ndarray) -> torch.Tensor:
        if self.image in sample_ids[:, 1]:
            self.instead()
        return self.read(sample_ids)


@pytest.fixture
def started() -> Iterator[Callable[[], list[object]]]:
    """What is left of the processes that a test has started; garbage is collected only where it asks for that."""
    before = multiprocessing.active_children()
    gc.disable()
    yield lambda: [process for process in multiprocessing.active_children() if process not in before]
    gc.enable()


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_an_abandoned_epochs_processes_end_at_once(started: Callable[[], list[object]], in_a_cycle: bool) -> None:
    """Even one that doesn't look up from its work, and where the garbage collector comes upon them."""
    loader = ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True, shuffle=False)
    _Reads(loader, 30, instead=threading.Event().wait)
    batches = loader.epoch(1)
    next(batches)
    assert len(started()) == 2
    if in_a_cycle:
        knot = [loader, batches]
        knot.append(knot)  # type: ignore[arg-type]
        del knot
    del loader, batches
    if in_a_cycle:
        gc.collect()
    assert started() == []


def _raise() -> None:
    raise UserError("an image is missing")


def test_a_users_mistake_keeps_no_processes_once_it_is_told(started: Callable[[], list[object]]) -> None:
    loader = ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True, shuffle=False)
    _Reads(loader, 30, instead=_raise)
    try:
        list(loader.epoch(1))
    except UserError as error:
        told = str(error)
    del loader
    assert (told, started()) == ("an image is missing", [])


def test_a_loaders_process_is_terminated_though_it_ignores_that_signal() -> None:
    """Where torch ends it from another thread than the main one."""
    process = LoaderProcess(target=lambda: (leave_all_to_the_parent(0), threading.Event().wait()))
    process.start()
    thread = threading.Thread(target=lambda: (process.terminate(), process.join(60)))
    thread.start()
    thread.join()
    assert process.exitcode == -signal.SIGKILL


NOBODY_TAKES_IT = """
import os
from multiprocessing import current_process, reduction, resource_sharer
from multiprocessing.connection import Client
from utils.signals import leave_all_to_the_parent
leave_all_to_the_parent(0)
handed_over = reduction.DupFd(1)
Client(resource_sharer._resource_sharer._address, authkey=current_process().authkey).close()  # and is gone
os.write(handed_over.detach(), b"taken")
"""


def test_a_loaders_process_says_nothing_where_nobody_takes_its_batch() -> None:
    """The thread that hands over file descriptors goes on to the next one, so it is done with the first."""
    ended = Fork("program", NOBODY_TAKES_IT).end()
    assert (ended.code, ended.out, ended.err) == (0, "taken", "")

"""What all tests share."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from tests.scripts.command_line import Shell
from tests.trainer.small_runs import draw_nothing, make_quick
from trainer.trainer import Trainer
from utils.config import schema_cache

STARTING = {"subprocess", "in_own_process", "in_processes", "Fork", "run_forked", "script_in_fork"}
"""Names that a file imports which starts processes."""
_CONFUSION = Trainer._confusion


def pytest_collection() -> None:
    """Nothing looks for garbage while hundreds of files are imported."""
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes come first, then those of many tests: at the end no worker waits for a long one."""
    tests = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[bool, int]:
        names = vars(item.module) if isinstance(item, pytest.Function) else {}
        return STARTING.isdisjoint(names), -tests[item.path]

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What has been imported stays: the garbage collector needn't look at it again and again, nor so often."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Scripts set up logging for good; a test gives it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """These networks are too small for threads to help, and on a busy machine waiting for one another costs a lot.

    For the whole session: what a fixture has trained is compared bit for bit with what a test trains.
    """
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _signals_as_in_a_terminal() -> None:
    """`nohup make test &` starts with two of them ignored, and programs leave those alone."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test of this process looks at what is left when the power fails; those that kill processes start their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_cached_schema() -> Iterator[None]:
    """A test may add classes to those that a configuration names: no other test or process is to learn of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema_cache, "cached_file", lambda name: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_pictures() -> Iterator[None]:
    """Drawing one takes a tenth of a second, and hundreds of small runs would."""
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of a run's pictures: they are drawn."""
    monkeypatch.setattr(Trainer, "_confusion", _CONFUSION)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of eight channels a stage, and ten test images of a digit."""
    make_quick(monkeypatch)


@pytest.fixture(scope="module")
def _quick_throughout() -> Iterator[None]:
    """The same for a whole file, whose fixtures train."""
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        yield


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs the scripts within this process: `shell("train.py", "-c", path)`."""
    return Shell(monkeypatch, capsys)

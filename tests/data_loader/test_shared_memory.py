"""A container has 64 MB of shared memory: batches that don't fit come through pipes, and a warning says what to do."""

from __future__ import annotations

import errno
import multiprocessing.synchronize
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from base import Batch
from data_loader import shared_memory
from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.datasets.image_sets import BatchDataset, ReadBatch
from data_loader.lost_workers import report_lost_workers
from utils.errors import RunError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
MIB = 2**20


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def leave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int) -> None:
    """Let the folder of shared memory be one of 64 MiB with so many bytes free."""
    monkeypatch.setattr(shared_memory, "_FOLDER", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 * MIB, 64 * MIB - free, free))


@pytest.mark.parametrize("free", [6143, 6144])
def test_what_workers_read_in_advance_is_compared_with_what_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, free: int
) -> None:
    leave(monkeypatch, tmp_path, free)
    """2 workers read 2 batches each, and the run has another and waits for the next: 6 of 1024 bytes."""
    assert shared_memory.has_shared_memory(2, 2, 1024) == (free == 6144)
    assert len(caplog.messages) == (free == 6143)


def test_the_warning_names_the_sizes_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(monkeypatch, tmp_path, 60 * MIB)
    assert not shared_memory.has_shared_memory(4, 2, 256 * 3 * 224**2)  # 36.75 MiB: ImageNet's 256 images
    (line,) = caplog.messages
    assert line.startswith(
        f"warning: {tmp_path} has 60 MiB free, but (4 workers x 2 + 2) batches of 36.8 MiB take 368 MiB"
    )
    assert "--shm-size=736m" in line
    assert "data_loader.args.num_workers" in line


def test_other_systems_have_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared_memory, "_FOLDER", tmp_path / "none")
    assert shared_memory.has_shared_memory(10**6, 2, 10**9)
    assert shared_memory.shortage() == ""


def epoch_of_digits() -> list[Batch]:
    return list(ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True, max_per_class=6).epoch(1))


def same_batches(ours: list[Batch], theirs: list[Batch]) -> bool:
    return all(
        torch.equal(one.images, other.images)
        and torch.equal(one.targets, other.targets)
        and one.targets.dtype == other.targets.dtype
        and one.shard == other.shard
        for one, other in zip(ours, theirs, strict=True)
    )


def test_batches_through_pipes_are_the_same_and_no_tensors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = epoch_of_digits()
    assert caplog.messages == []
    leave(monkeypatch, tmp_path, 1000)
    assert same_batches(shared, epoch_of_digits())
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("shares_memory", [True, False])
def test_images_alone_are_shared(shares_memory: bool) -> None:
    """A file for each batch, not two: there may be a thousand at once."""
    loader = ImbalanceDigitsDataLoader(batch_size=8)
    loader._planner.start(loader.epoch_sample_ids(1), first_step=0, every=1, rank=0, size=1)
    dataset = BatchDataset(loader.images, None, shares_memory=shares_memory)
    handed_over = dataset.__getitems__(next(iter(loader._planner)))
    assert isinstance(handed_over, ReadBatch)
    assert isinstance(handed_over.targets, np.ndarray)
    if shares_memory:
        assert isinstance(handed_over.images, torch.Tensor)
        assert handed_over.images.is_shared()
    else:
        assert isinstance(handed_over.images, np.ndarray)


def test_what_does_not_fit_later_comes_through_a_pipe_which_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Others may fill the shared memory while the run is at work."""
    shared = epoch_of_digits()
    share, calls = torch.Tensor.share_memory_, []

    def full_now_and_then(images: torch.Tensor) -> torch.Tensor:
        calls.append(images)  # in a worker: each has its own count
        if len(calls) % 2:
            raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device")
        return share(images)

    monkeypatch.setattr(torch.Tensor, "share_memory_", full_now_and_then)
    assert same_batches(shared, epoch_of_digits())
    (line,) = caplog.messages
    assert line.startswith("warning: a batch did not fit into shared memory")
    assert "--shm-size" in line


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, r"/dev/shm is full \(docker run --shm-size"), (errno.EMFILE, "open files")]
)
def test_processes_that_can_not_be_started_are_one_line(
    monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    """torch's half-made iterator would print a traceback besides, which pytest takes for an error."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", fail)
    with pytest.raises(RunError, match=f"2 loader processes can't be started .*{told}.*num_workers"):
        epoch_of_digits()


@pytest.mark.parametrize("told", ["Too many open files. Communication", "received 0 items of ancdata"])
def test_a_limit_on_open_files_is_told(told: str) -> None:
    with pytest.raises(RunError, match=r"too many files are open.*ulimit -n.*num_workers"), report_lost_workers():
        raise RuntimeError(told)


def test_without_workers_nothing_is_shared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(monkeypatch, tmp_path, 0)
    next(ImbalanceDigitsDataLoader(batch_size=8, num_workers=0, randaugm=True).epoch(1))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("free", "told"), [(MIB, "has 1 of 64 MiB free (docker run --shm-size sets it)"), (32 * MIB, "")]
)
def test_a_lost_worker_is_put_down_to_it_where_it_is_scarce(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, told: str
) -> None:
    leave(monkeypatch, tmp_path, free)
    with pytest.raises(RunError, match="a loader process is lost") as caught, report_lost_workers():
        raise RuntimeError("DataLoader timed out after 600 seconds")
    assert told in str(caught.value)
    assert ("--shm-size" in str(caught.value)) == bool(told)

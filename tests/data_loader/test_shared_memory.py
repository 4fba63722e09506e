"""A container has 64 MB of shared memory: batches that don't fit come through pipes, and a warning says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from data_loader import shared_memory
from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
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


@pytest.mark.parametrize("free", [4095, 4096])
def test_what_workers_read_in_advance_is_compared_with_what_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, free: int
) -> None:
    leave(monkeypatch, tmp_path, free)
    assert shared_memory.has_shared_memory(2, 2, 1024) == (free == 4096)
    assert len(caplog.messages) == (free == 4095)


def test_the_warning_names_the_sizes_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(monkeypatch, tmp_path, 60 * MIB)
    assert not shared_memory.has_shared_memory(4, 2, 256 * 3 * 224**2)  # 36.75 MiB: ImageNet's 256 images
    (line,) = caplog.messages
    assert line.startswith(f"warning: {tmp_path} has 60 MiB free, but 4 workers x 2 batches x 36.8 MiB take 294 MiB")
    assert "--shm-size=588m" in line
    assert "data_loader.args.num_workers" in line


def test_other_systems_have_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared_memory, "_FOLDER", tmp_path / "none")
    assert shared_memory.has_shared_memory(10**6, 2, 10**9)
    assert shared_memory.shortage() == ""


def test_batches_through_pipes_are_the_same_and_no_tensors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def loader() -> ImbalanceDigitsDataLoader:
        return ImbalanceDigitsDataLoader(batch_size=8, num_workers=2, randaugm=True, max_per_class=6)

    shared = list(loader().epoch(1))
    assert caplog.messages == []
    leave(monkeypatch, tmp_path, 1000)
    tight = loader()
    piped = list(tight.epoch(1))
    assert len(caplog.messages) == 1
    for one, other in zip(shared, piped, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)
        assert one.targets.dtype == other.targets.dtype
        assert one.shard == other.shard
    tight._planner.start(tight.epoch_sample_ids(1), first_step=0, every=1, rank=0, size=1)
    handed_over = tight._torch_loader.dataset.__getitems__(next(iter(tight._planner)))
    assert isinstance(handed_over.images, np.ndarray)
    assert isinstance(handed_over.targets, np.ndarray)


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

"""A run's folder: which checkpoints are kept, which is believed, and who may work in it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from base import RunFolder
from base.run_folder import locked
from utils.errors import UserError
from utils.files.checkpoint_names import checkpoint_name

TRIALS = 200


def content(number: int) -> dict[str, Any]:
    return {"state_dict": {"weight": torch.full((3, 4), float(number))}, "epoch": number, "names": ["a", "b"]}


def is_content(found: dict[str, Any], number: int) -> bool:
    return (
        found["epoch"] == number
        and found["names"] == ["a", "b"]
        and torch.equal(found["state_dict"]["weight"], content(number)["state_dict"]["weight"])
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".pth")


# -- nothing there -----------------------------------------------------------------------------------------------------


def test_an_empty_folder_has_no_good_checkpoint(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).newest_good() is None


# -- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep_last", "kept"),
    [(0, [1, 2, 3, 4, 5]), (1, [5]), (3, [3, 4, 5]), (9, [1, 2, 3, 4, 5])],
)
def test_so_many_checkpoints_at_the_ends_of_epochs_are_kept(tmp_path: Path, keep_last: int, kept: list[int]) -> None:
    folder = RunFolder(tmp_path, keep_last=keep_last)
    folder.save("model_best.pth", content(0))
    for epoch in range(1, 6):
        folder.save(checkpoint_name(epoch), content(epoch))
    assert names(tmp_path) == [*(f"checkpoint-epoch{epoch}.pth" for epoch in kept), "model_best.pth"]


def test_within_an_epoch_the_newest_two_are_kept_until_it_ends(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, keep_last=1)
    folder.save(checkpoint_name(1), content(1))
    for step in (2, 4, 6):
        folder.save(checkpoint_name(1, step), content(step))
    kept = {checkpoint_name(1), checkpoint_name(1, 4), checkpoint_name(1, 6)}
    assert set(names(tmp_path)) == kept
    folder.save("model_best.pth", content(2))
    assert set(names(tmp_path)) == kept | {"model_best.pth"}, "the best one replaces none to go on from"
    folder.save(checkpoint_name(2), content(2))
    assert names(tmp_path) == [checkpoint_name(2), "model_best.pth"]


def test_a_run_continued_from_an_older_checkpoint_removes_none_of_the_newer(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, keep_last=1)
    for epoch in (5, 6):
        (tmp_path / checkpoint_name(epoch)).touch()
    folder.save(checkpoint_name(3), content(3))
    assert names(tmp_path) == [checkpoint_name(3), checkpoint_name(5), checkpoint_name(6)]


def test_a_checkpoint_that_can_not_be_written_removes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path, keep_last=1)
    folder.save(checkpoint_name(1), content(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"checkpoint-epoch2\.pth: can't be written: No space left on device"):
        folder.save(checkpoint_name(2), content(2))
    found = folder.newest_good()
    assert found is not None
    assert is_content(found[1], 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-epoch1.pth"]


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> RunFolder:
    """Checkpoints 1, 2 and 3."""
    folder = RunFolder(tmp_path)
    for epoch in (1, 2, 3):
        folder.save(checkpoint_name(epoch), content(epoch))
    return folder


def flipped(whole: bytes, bit: int) -> bytes:
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["cut", "flipped"])
def test_of_a_damaged_checkpoint_nothing_is_believed(
    three: RunFolder, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Either it is passed over for the one before, or what it holds is what was written; never anything else."""
    caplog.set_level(logging.CRITICAL)
    random, newest = Random(0), three.path / checkpoint_name(3)
    whole = newest.read_bytes()
    skipped_files = 0
    for _ in range(TRIALS):
        damaged = (
            whole[: random.randrange(len(whole))] if kind == "cut" else flipped(whole, random.randrange(8 * len(whole)))
        )
        newest.write_bytes(damaged)
        found = three.newest_good()
        assert found is not None
        skipped_files += found[0] != newest
        assert is_content(found[1], 3 if found[0] == newest else 2)
    assert skipped_files > 0.9 * TRIALS, "damage is noticed"
    newest.write_bytes(whole)
    found = three.newest_good()
    assert found is not None
    assert is_content(found[1], 3)


@pytest.mark.parametrize("length", [1, 2, 22, 70, 71, 72, 73, 74, 75, 100])
def test_a_cut_near_the_end_where_the_digest_stands_is_noticed(three: RunFolder, length: int) -> None:
    newest = three.path / checkpoint_name(3)
    newest.write_bytes(newest.read_bytes()[:-length])
    found = three.newest_good()
    assert found is not None
    assert is_content(found[1], 2)


def test_damaged_ones_are_named_and_the_oldest_good_one_is_found(
    three: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    (three.path / checkpoint_name(3)).write_bytes(b"")
    (three.path / checkpoint_name(2)).unlink()
    (three.path / checkpoint_name(2)).mkdir()
    with caplog.at_level(logging.WARNING):
        found = three.newest_good()
    assert found is not None
    assert is_content(found[1], 1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    for record, epoch in zip(caplog.records, (3, 2), strict=True):
        assert record.getMessage().startswith(str(three.path / checkpoint_name(epoch)))


def test_with_every_checkpoint_damaged_there_is_none(three: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for path in three.checkpoints():
        path.write_bytes(path.read_bytes()[:50])
    assert three.newest_good() is None


# -- the lock ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_one_processs_until_it_gives_it_back(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    with locked(first) as folder:
        assert folder is first
        assert not second.lock()
        with pytest.raises(UserError, match="another process is training in this folder"):
            locked(second)
    assert second.lock()
    second.__exit__()


def _take(path: Path, ready: Connection) -> None:
    folder = RunFolder(path)
    ready.send(folder.lock())
    signal.pause()


def test_a_process_that_is_killed_holds_no_folder(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_take, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() is True
    folder = RunFolder(tmp_path)
    assert not folder.lock()
    process.kill()
    process.join()
    assert folder.lock()
    folder.__exit__()


def _wait(ready: Connection) -> None:
    ready.send(True)
    signal.pause()


def test_a_loaders_process_does_not_hold_on_to_the_folder_of_a_run_that_has_died(tmp_path: Path) -> None:
    """A fork inherits open files, and with them such locks."""
    ours, theirs = multiprocessing.Pipe()
    with locked(RunFolder(tmp_path)):
        process = multiprocessing.get_context("fork").Process(target=_wait, args=(theirs,))
        process.start()
        assert ours.recv() is True
        assert not RunFolder(tmp_path).lock(), "the process that has it still has it"
    with locked(RunFolder(tmp_path)):
        assert process.is_alive()
    process.kill()
    process.join()


def test_what_a_killed_process_left_half_written_is_removed_with_the_next_lock(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save(checkpoint_name(1), content(1))
    half = (".checkpoint-epoch2.pth.ab12", ".model_best.pth.cd34", ".run.json.gh78")
    for name in (*half, ".results.json.ef56", "notes.txt"):
        (tmp_path / name).write_text("half")
    with locked(folder):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoint-epoch1.pth", ".lock", ".results.json.ef56", "notes.txt"}


def test_without_the_lock_nothing_is_removed(tmp_path: Path) -> None:
    """The process that holds the folder may be writing just now."""
    with locked(RunFolder(tmp_path)):
        (tmp_path / ".checkpoint-epoch2.pth.ab12").touch()
        assert not RunFolder(tmp_path).lock()
        assert (tmp_path / ".checkpoint-epoch2.pth.ab12").exists()


def test_a_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match="can't be written to"):
        RunFolder(tmp_path).lock()

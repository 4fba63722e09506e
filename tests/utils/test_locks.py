"""One process at a time, as far as the file system knows locks; nothing of a run depends on its knowing any."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.files.locks import only_writer, take_lock

NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]


def fail_to_lock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)


@pytest.mark.parametrize("number", NO_LOCKS, ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_told_once_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    fail_to_lock(monkeypatch, number)
    (tmp_path / ".results.json.ab12").touch()
    for _ in range(2):
        lock = take_lock(tmp_path / ".lock")
        assert lock is not None
        with only_writer(tmp_path, ["results.json"]):
            assert (tmp_path / ".results.json.ab12").exists(), "another process may be writing it"
        lock.release()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"warning: {tmp_path}: its file system has no locks")


def test_a_killed_process_on_another_machine_leaves_nothing_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that a batch system starts again elsewhere goes on in its folder."""
    fail_to_lock(monkeypatch, errno.ENOSYS)
    left_by_another = take_lock(tmp_path / ".lock")
    assert (tmp_path / ".lock").read_text() == "", "no marker of who has it"
    assert take_lock(tmp_path / ".lock") is not None
    assert left_by_another is not None


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_lock(monkeypatch, errno.EIO)
    with pytest.raises(UserError, match="can't be written to: Input/output error"):
        take_lock(tmp_path / ".lock")
    with pytest.raises(UserError, match="can't be written to: Input/output error"), only_writer(tmp_path, []):
        pass


@pytest.fixture
def group_may_write() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.usefixtures("group_may_write")
def test_whoever_may_write_to_a_folder_may_lock_it(tmp_path: Path) -> None:
    lock = take_lock(tmp_path / ".lock")
    assert lock is not None
    with only_writer(tmp_path, []):
        pass
    lock.release()
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (".lock", ".writing.lock")} == {0o664}


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """It would be opened for writing, whatever it leads to."""
    (tmp_path / "kept").write_text("kept")
    (tmp_path / ".writing.lock").symlink_to("kept")
    with pytest.raises(UserError, match="can't be written to"), only_writer(tmp_path, []):
        pass
    assert (tmp_path / "kept").read_text() == "kept"

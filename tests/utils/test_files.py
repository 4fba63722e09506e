"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

from tests.odd_files import ODD_KINDS, put_odd
from utils.errors import UserError
from utils.files.writing import new_folder, write_atomically, write_bytes, write_text

LIMITED = """
import resource, signal, sys
from pathlib import Path
from utils.errors import UserError
from utils.files.writing import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"n" * 100_000)
except UserError as error:
    print(error)
"""


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    write_bytes(tmp_path / "new" / "folders" / "file.bin", content)
    assert (tmp_path / "new" / "folders" / "file.bin").read_bytes() == content
    write_text(tmp_path / "text", "τ = 1\n")
    assert (tmp_path / "text").read_bytes() == "τ = 1\n".encode()


def test_a_later_write_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"a long old content")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ZeroDivisionError("bug"), ZeroDivisionError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), UserError),
    ],
)
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException, raised: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: IO[bytes]) -> NoReturn:
        file.write(b"half of it")
        file.flush()
        raise error

    with pytest.raises(raised) as caught:
        write_atomically(path, write)
    if raised is UserError:
        assert str(caught.value) == f"{path}: can't be written: No space left on device"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == f"{path}: can't be written: {os.strerror(errno.EFBIG)}\n"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(UserError, match="can't be written"):
        write_bytes(tmp_path / "file" / "below", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="can't be written: a folder is in the way"):
        write_bytes(tmp_path / "taken", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_a_pipe_or_a_device_is_not_replaced_and_a_link_is_not_followed(tmp_path: Path, kind: str) -> None:
    """Root would else make a file of /dev/null."""
    path = tmp_path / "odd"
    put_odd(path, kind)
    before = path.lstat()
    if kind in ("loop", "dangling"):
        write_bytes(path, b"new")
        assert not path.is_symlink()
        assert path.read_bytes() == b"new"
        return
    with pytest.raises(UserError, match=r"odd: can't be written: a (pipe|socket|folder|device) is in the way"):
        write_bytes(path, b"new")
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert [found.name for found in tmp_path.iterdir()] == ["odd"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_a_written_file_has_the_rights_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"x")
        assert os.umask(mask) == mask  # asking for the mask did not change it
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {letter * 200_000 for letter in (b"a", b"b")}
    write_bytes(path, min(contents))
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            for content in contents:
                write_bytes(path, content)
    finally:
        stop.set()
        reader.join()
    assert seen <= contents


def test_new_folders_never_coincide(tmp_path: Path) -> None:
    folders = {new_folder(tmp_path / "runs") for _ in range(30)}
    assert len(folders) == 30
    assert set((tmp_path / "runs").iterdir()) == folders


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"can't make a folder for the run: .*\(trainer\.save_dir\)"):
        new_folder(tmp_path / "file" / "runs")


def test_a_writer_that_writes_nothing_makes_an_empty_file(tmp_path: Path) -> None:
    def write(file: IO[Any]) -> None:
        pass

    write_atomically(tmp_path / "empty", write)
    assert (tmp_path / "empty").read_bytes() == b""


def test_text_without_utf_8_is_written_as_json_escapes_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", json.dumps({"name": "é \udcff"}, ensure_ascii=False))
    assert (tmp_path / "a.json").read_bytes() == b'{"name": "\xc3\xa9 \\udcff"}'
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf8")) == {"name": "é \udcff"}

"""What is no regular file is refused by `stat`, before it is opened: none of these may be waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.odd_files import ODD_KINDS, put_odd
from utils.errors import UserError
from utils.files.checkpoint import CheckpointError, load_checkpoint, read_weights
from utils.files.inert_pickle import load_inertly
from utils.files.reading import read_regular_file, regular_file


def odd(folder: Path, kind: str) -> Path:
    path = folder / "odd"
    if kind in ODD_KINDS:
        put_odd(path, kind)
    elif kind == "NUL":
        path = folder / "a\0b"
    elif kind == "long":
        path = folder / ("x" * 5000)
    elif kind == "below a file":
        path.write_bytes(b"content")
        path = path / "checkpoint.pth"
    return path


KINDS = {
    **ODD_KINDS,
    "NUL": "no file can have this name",
    "long": "File name too long",
    "below a file": "no such checkpoint",
    "nothing": "no such checkpoint",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_by_name_by_every_reader(tmp_path: Path, kind: str) -> None:
    path = odd(tmp_path, kind)
    for read in (load_checkpoint, load_inertly, read_weights):
        with pytest.raises(CheckpointError, match=KINDS[kind]) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert "odd" in str(caught.value) or kind in ("NUL", "long", "nothing")


def test_a_file_is_read_whole_and_only_up_to_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "link", "list") == b"12345"
    assert read_regular_file(tmp_path / "file", "list", most_bytes=5) == b"12345"
    assert regular_file(tmp_path / "file", "list").st_size == 5
    with pytest.raises(UserError, match="5 bytes are too many for a list; at most 4 are read"):
        regular_file(tmp_path / "file", "list", most_bytes=4)

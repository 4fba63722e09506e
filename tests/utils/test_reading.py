"""What is no regular file is refused by `stat`, before it is opened: none of these may be waited for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from data_loader.lists.list_files import read_list
from tests.odd_files import ODD_KINDS, put_odd
from utils.config.json_files import read_json
from utils.errors import UserError
from utils.files.checkpoint import CheckpointError, load_checkpoint, read_weights
from utils.files.inert_pickle import load_inertly
from utils.files.provenance import read_processes
from utils.files.reading import read_at_most, read_regular_file, regular_file
from utils.reporting.logger import set_up_logging


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


def _extended(path: Path) -> object:
    own = path.parent / "own.json"
    own.write_text(f'{{"extends": "{path.name}"}}')
    return read_json(own)


TEXTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "configuration": ("odd.json", read_json),
    "extended configuration": ("odd.json", _extended),
    "list": ("odd.txt", read_list),
    "logging configuration": ("odd.json", lambda path: set_up_logging(1, config_file=str(path))),
    "record of a run": ("run.json", lambda path: read_processes(path.parent)),
}
"""What people, and earlier runs, have written: the file's name, and what reads or writes it."""


ODD_TEXTS = [(what, kind) for what in TEXTS for kind in ODD_KINDS]


@pytest.mark.parametrize(("what", "kind"), ODD_TEXTS)
def test_what_is_no_text_file_is_refused_by_name_wherever_one_is_read(tmp_path: Path, what: str, kind: str) -> None:
    name, read = TEXTS[what]
    put_odd(tmp_path / name, kind)
    with pytest.raises(UserError, match=rf"{name}: .*{ODD_KINDS[kind]}") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", sorted(set(ODD_KINDS) - {"dangling"}))  # which is written
def test_what_is_in_the_way_of_a_log_is_a_warning(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_odd(tmp_path / "info.log", kind)
    set_up_logging(1, folder=tmp_path)
    told = "can't be written: Too many levels" if kind == "loop" else ODD_KINDS[kind]
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(rf"warning: {tmp_path}/info\.log: .*{told}", line)


@pytest.mark.parametrize("what", sorted(set(TEXTS) - {"list"}))  # whose paths are the file system's
def test_what_is_no_utf_8_is_refused_wherever_text_is_read(tmp_path: Path, what: str) -> None:
    name, read = TEXTS[what]
    (tmp_path / name).write_bytes(b"a\xff")
    with pytest.raises(UserError, match=rf"{name}: can't be read as a .*: no text in UTF-8 \(at byte 1\)"):
        read(tmp_path / name)


def test_a_file_is_read_whole_and_only_up_to_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "link", "list") == b"12345"
    assert read_regular_file(tmp_path / "file", "list", most_bytes=5) == b"12345"
    assert regular_file(tmp_path / "file", "list").st_size == 5
    with pytest.raises(UserError, match="5 bytes are too many for a list; at most 4 are read"):
        regular_file(tmp_path / "file", "list", most_bytes=4)


def test_an_open_file_is_read_up_to_a_bound_without_taking_memory_for_it(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(content)
    for most, expected in ((10**15, content), (len(content), content), (200_000, content[:200_000]), (0, b"")):
        with (tmp_path / "file").open("rb") as file:
            assert read_at_most(file, most) == expected

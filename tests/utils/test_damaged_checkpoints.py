"""Files that generators damage: refused in one line, or loaded as what was saved; nothing in between."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from utils.files.checkpoint import CheckpointError, load_checkpoint, read_weights, save_checkpoint
from utils.files.inert_pickle import load_inertly

CONTENT = {
    "state_dict": {"weight": torch.arange(40.0).view(5, 8), "half": torch.ones(3, dtype=torch.bfloat16)},
    "epoch": 3,
    "config": {"name": "größe"},
}
READERS = (load_checkpoint, load_inertly)


def is_content(loaded: dict[str, Any]) -> bool:
    state, own = loaded["state_dict"], CONTENT["state_dict"]
    return (
        loaded["epoch"] == 3
        and loaded["config"] == CONTENT["config"]
        and list(state) == list(own)
        and all(torch.equal(state[name], own[name]) and state[name].dtype == own[name].dtype for name in own)  # type: ignore[index]
    )


def archive_of(form: str, folder: Path, content: dict[str, Any] = CONTENT) -> bytes:
    path = folder / "whole.pth"
    if form == "own":
        save_checkpoint(path, content)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "foreign")
    return path.read_bytes()


def refused(path: Path, read: Callable[[Path], Any]) -> bool:
    """Whether a reader refuses a file, in one line that names it; else it must have read what was saved."""
    try:
        loaded = read(path)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return True
    assert is_content(loaded)
    return False


def regions(archive: bytes) -> Iterator[tuple[str, range]]:
    """What an archive consists of: of each entry its header, name and padding, data, and what is behind; the end."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        entries, directory = file.infolist(), file.start_dir
    ends = [*(entry.header_offset for entry in entries[1:]), directory]
    for entry, end in zip(entries, ends, strict=True):
        begin = entry.header_offset
        name, extra = struct.unpack("<2H", archive[begin + 26 : begin + 30])
        data = begin + 30 + name + extra
        yield f"header of {entry.filename}", range(begin, begin + 30)
        yield f"name of {entry.filename}", range(begin + 30, data)
        yield f"data of {entry.filename}", range(data, data + entry.file_size)
        yield f"descriptor of {entry.filename}", range(data + entry.file_size, end)
    yield "directory and end", range(directory, len(archive))


@pytest.mark.parametrize("form", ["own", "foreign"])
def test_a_flipped_bit_of_any_region_is_noticed_or_harmless(tmp_path: Path, form: str) -> None:
    archive, path, draw = archive_of(form, tmp_path), tmp_path / "flipped.pth", random.Random(2)
    for title, region in regions(archive):
        for position in sorted(draw.sample(region, min(12, len(region)))):
            damaged = bytearray(archive)
            damaged[position] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            for read in READERS:
                assert refused(path, read) or (form == "foreign" and "data of" not in title), (title, position)


def test_every_bit_of_a_foreign_weight_is_guarded_by_its_checksum(tmp_path: Path) -> None:
    archive, path = archive_of("foreign", tmp_path), tmp_path / "flipped.pth"
    region = next(region for title, region in regions(archive) if title.endswith("data/0") and title[0] == "d")
    for position in region[::7]:
        damaged = bytearray(archive)
        damaged[position] ^= 128
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged: the checksum of '.*/data/0' does not fit"):
            load_checkpoint(path)


@pytest.mark.parametrize("form", ["own", "foreign", "legacy"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, form: str) -> None:
    archive, path = archive_of(form, tmp_path), tmp_path / "cut.pth"
    for length in [*range(0, len(archive) - 1, 41), *range(len(archive) - 90, len(archive))]:
        path.write_bytes(archive[:length])
        assert refused(path, load_checkpoint), length


@pytest.mark.parametrize("form", ["own", "foreign", "legacy"])
def test_whatever_is_appended_put_before_or_inserted_is_refused(tmp_path: Path, form: str) -> None:
    archive, path, draw = archive_of(form, tmp_path), tmp_path / "more.pth", random.Random(3)
    other = archive_of("foreign", tmp_path, {"state_dict": {"weight": torch.zeros(2)}})
    more = [b"\0", b"\n", b"junk", bytes(68_000), draw.randbytes(100), archive, other, archive[-22:], other[-98:]]
    for extra in more:
        for content in (archive + extra, extra + archive):
            path.write_bytes(content)
            assert all(refused(path, read) for read in READERS), extra[:20]
    if form != "legacy":
        for begin in {region.start for _, region in regions(archive)} - {0}:
            path.write_bytes(archive[:begin] + b"inserted" + archive[begin:])
            assert all(refused(path, read) for read in READERS), begin


def test_an_archive_is_refused_where_offsets_are_mended_around_what_is_put_before_it(tmp_path: Path) -> None:
    """zipfile then finds every entry, so that only the archive's first byte tells."""
    path, packed = tmp_path / "shifted.pth", io.BytesIO(b"#!/bin/sh\n")
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(io.BytesIO(archive_of("foreign", tmp_path))) as source, zipfile.ZipFile(packed, "a") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    path.write_bytes(packed.getvalue())
    assert all(refused(path, read) for read in READERS)


def rewritten(
    archive: bytes, change: Callable[[str, bytes], dict[str, bytes]], *, again: bool = False, **how: Any
) -> bytes:
    """The archive with other entries, written by `zipfile`: sound, but not what torch.save writes."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(packed, "w", **how) as target,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # zipfile's, of names that are there twice
        for entry in source.infolist():
            for name, content in change(entry.filename, source.read(entry)).items():
                target.writestr(name, content)
            if again:
                target.writestr(entry.filename, b"")
    return packed.getvalue()


STRANGE: dict[str, Callable[[str, bytes], dict[str, bytes]]] = {
    "a second folder": lambda name, content: {name: content, f"other/{name}": content},
    "no folder": lambda name, content: {name.partition("/")[2]: content},
    "a name in capitals": lambda name, content: {name: content, name.replace("data/0", "DATA/0"): content},
    "a second pickle": lambda name, content: {name: content, name.replace("data.pkl", "Data.pkl"): content},
    "a program": lambda name, content: {name: content, name.replace("version", "constants.pkl"): content},
    "code": lambda name, content: {name: content, name.replace("version", "code/__torch__.py"): content},
    "attributes": lambda name, content: {name: content, name.replace("version", "attributes.pkl"): content},
    "a way out": lambda name, content: {name: content, name.replace("version", "../../x"): content},
    "no pickle": lambda name, content: {} if name.endswith("data.pkl") else {name: content},
    "no weights": lambda name, content: {} if name.endswith("data/0") else {name: content},
    "weights too short": lambda name, content: {name: content[:-1] if name.endswith("data/0") else content},
    "weights too long": lambda name, content: {name: content + b"\0" if name.endswith("data/0") else content},
    "an unknown byte order": lambda name, content: {name: b"middle" if name.endswith("byteorder") else content},
    "nothing": lambda name, content: {},
}


@pytest.mark.parametrize("kind", STRANGE)
def test_sound_archives_with_other_entries_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "strange.pth"
    path.write_bytes(rewritten(archive_of("foreign", tmp_path), STRANGE[kind]))
    assert all(refused(path, read) for read in READERS)


@pytest.mark.parametrize("place", ["a folder's name", "an entry's name"])
def test_names_with_a_nul_are_refused(tmp_path: Path, place: str) -> None:
    """One reader ends such a name at the NUL, another goes on."""
    path, archive = tmp_path / "nul.pth", archive_of("foreign", tmp_path)
    old = b"whole/" if place == "a folder's name" else b"/data/1"
    path.write_bytes(archive.replace(old, old[:-2] + b"\0" + old[-1:]))
    assert all(refused(path, read) for read in READERS)


def test_entries_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.pth"
    path.write_bytes(rewritten(archive_of("foreign", tmp_path), lambda name, content: {name: content}, again=True))
    assert all(refused(path, read) for read in READERS)


def test_compressed_archives_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    path.write_bytes(
        rewritten(
            archive_of("foreign", tmp_path), lambda name, content: {name: content}, compression=zipfile.ZIP_DEFLATED
        )
    )
    with pytest.raises(CheckpointError, match="is compressed"):
        load_checkpoint(path)


def test_an_archive_that_zipfile_has_written_anew_is_read(tmp_path: Path) -> None:
    path = tmp_path / "again.pth"
    path.write_bytes(rewritten(archive_of("foreign", tmp_path), lambda name, content: {name: content}))
    assert not any(refused(path, read) for read in READERS)


def test_a_bare_state_dict_is_read_as_carefully(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    for new_format in (True, False):
        torch.save(CONTENT["state_dict"], path, _use_new_zipfile_serialization=new_format)
        assert list(read_weights(path)) == ["weight", "half"]
        path.write_bytes(path.read_bytes() + b"\0")
        with pytest.raises(CheckpointError, match="appended"):
            read_weights(path)
    for other in ({}, {"weight": 1}, [torch.ones(1)], {1: torch.ones(1)}):
        torch.save(other, path)
        with pytest.raises(CheckpointError):
            read_weights(path)


@pytest.mark.parametrize("name", ["größe.pth", "a b.pth", "x.y.z.pth", "$x$.pth"])
def test_archives_are_read_whatever_they_were_called_when_saved(tmp_path: Path, name: str) -> None:
    torch.save(CONTENT, tmp_path / name)
    assert not refused(tmp_path / name, load_checkpoint)


def test_files_without_checksums_are_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive_of("legacy", tmp_path)
    for read in READERS:
        assert not refused(tmp_path / "whole.pth", read)
    assert len(caplog.records) == 2
    assert all("no checksums" in record.getMessage() for record in caplog.records)

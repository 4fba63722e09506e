"""The container that torch.save writes, judged before anything reads out of it.

A zip archive can be made so that two readers see two different ones in it: by something before or after it, by entries
that overlap, by names that differ in case only. torch has a reader of its own, which ignores checksums and hands what
looks like a program to the interpreter of programs. So an archive is taken only where nothing is left to interpret:
it fills the file from its first byte to its last, its entries follow each other, and they are those that torch.save
writes.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import re
import struct
import zipfile
from pathlib import Path

from utils.errors import CheckpointError

MARK = b"sha256:"
COMMENT_LENGTH = len(MARK) + 64
END_RECORD, END_RECORD_LENGTH = b"PK\x05\x06", 22  # its last two bytes announce the comment

logger = logging.getLogger(__name__)

_ZIP_BEGINNING = b"PK\x03\x04"
_LEGACY_BEGINNING = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # torch's magic number, pickled
_LARGE_END_LENGTH, _LOCATOR_LENGTH = 56, 20  # of zip64's end record, and of what points to it
_LARGE_END, _LOCATOR = b"PK\x06\x06", b"PK\x06\x07"
_HAS_DESCRIPTOR, _DESCRIPTOR_LENGTHS = 0x8, (0, 12, 16, 20, 24)  # checksum and sizes again, behind the data
_ENTRY = re.compile(r"data\.pkl|data/\w+|version|byteorder|\.[a-z_]+(/\w+)?")  # below the archive's one folder
_PROGRAM = re.compile(r"constants\.pkl|code/.*", re.IGNORECASE)
_DAMAGED = "cut short or damaged"


def is_zip(archive: bytes) -> bool:
    """Whether torch takes a file for a zip archive, and not for its old format."""
    return archive.startswith(_ZIP_BEGINNING)


def sound_digest(archive: bytes, path: Path) -> str:
    """Judge the bytes of a file that torch.save should have written; returns their SHA-256 in hexadecimal.

    An archive whose comment is our digest is checked by it, any other by the checksums of its entries. torch's old
    format, pickles one after the other, has no checksums: only its beginning is looked at, and a warning says so.

    Raises:
        CheckpointError: it is damaged, a program, more or less than one archive, or something else.
    """
    if not archive:
        raise CheckpointError(f"{path}: the file is empty")
    body, tail = archive[: -COMMENT_LENGTH - 2], archive[-COMMENT_LENGTH - 2 :]
    whole = hashlib.sha256(body)
    has_digest = tail[2:].startswith(MARK)
    if has_digest and tail != struct.pack("<H", COMMENT_LENGTH) + MARK + whole.hexdigest().encode():
        raise CheckpointError(f"{path}: damaged: its content does not match the digest inside")
    whole.update(tail)
    if is_zip(archive):
        _require_one_archive(archive, path, COMMENT_LENGTH if has_digest else 0, checksums=not has_digest)
    elif not archive.startswith(_LEGACY_BEGINNING):
        pickled = "; a pickle, and such is never executed here" if archive.startswith(b"\x80") else ""
        raise CheckpointError(f"{path}: no checkpoint (not a file that torch.save wrote{pickled})")
    else:
        logger.warning("%s: of torch's old format, which has no checksums: damage to its numbers goes unnoticed", path)
    return whole.hexdigest()


def _require_one_archive(data: bytes, path: Path, comment: int, *, checksums: bool) -> None:
    end = len(data) - END_RECORD_LENGTH - comment
    last = data.rfind(END_RECORD)
    if last != end or int.from_bytes(data[end + 20 : end + 22], "little") != comment:
        told = _DAMAGED if last < 0 or last > end else "something is appended to the archive, or its end is damaged"
        raise CheckpointError(f"{path}: refused: {told}" if told != _DAMAGED else f"{path}: {told}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            problem = (
                _directory_problem(data, end, archive.start_dir, len(entries))
                or _name_problem([entry.orig_filename for entry in entries])
                or _layout_problem(archive, data, entries)
            )
            if not problem and checksums and (damaged := archive.testzip()):
                problem = f"damaged: the checksum of {damaged!r} does not fit"
    except Exception:  # zipfile raises half a dozen kinds
        problem = _DAMAGED
    if problem:
        raise CheckpointError(f"{path}: {problem}")


def _directory_problem(data: bytes, end: int, begin: int, count: int) -> str:
    """Whether the end records agree with each other, and with the directory that `zipfile` has found at `begin`."""
    disk, first_disk, here, total, size, offset = struct.unpack("<4H2L", data[end + 4 : end + 20])
    directory_end, large = end, end - _LOCATOR_LENGTH - _LARGE_END_LENGTH
    if data[end - _LOCATOR_LENGTH :].startswith(_LOCATOR):
        directory_end = large
        pointed = int.from_bytes(data[end - 12 : end - 4], "little")
        if pointed != large or not data[large:].startswith(_LARGE_END):
            return "refused: it holds more than one archive, or its end is damaged"
        values = struct.unpack("<4Q", data[large + 24 : large + 56])
        short = (here, total, size, offset)
        if any(
            value not in (full, limit)
            for value, full, limit in zip(short, values, (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), strict=True)
        ):
            return "refused: its two end records differ"
        here, total, size, offset = values
    if disk or first_disk or here != count or total != count:
        return _DAMAGED
    if offset != begin:
        return "refused: something stands before the archive"
    return "" if begin + size == directory_end else _DAMAGED


def _name_problem(names: list[str]) -> str:
    """Whether the entries are those of torch.save, each there once whatever its case (torch's reader ignores that)."""
    root = names[0].partition("/")[0].partition("\0")[0] if names else ""  # a C string ends at a NUL
    inside = [name.removeprefix(f"{root}/") for name in names]
    if any(_PROGRAM.fullmatch(name) for name in inside):
        return "refused: a TorchScript archive, which is a program"
    strange = [name for name, rest in zip(names, inside, strict=True) if rest == name or not _ENTRY.fullmatch(rest)]
    if strange:
        return f"refused: it holds {strange[0][:80]!r}, which torch.save does not write"
    if len({name.lower() for name in names}) != len(names):
        return "refused: it holds two entries of one name"
    return "" if "data.pkl" in inside else "no checkpoint (not a file that torch.save wrote)"


def _layout_problem(archive: zipfile.ZipFile, data: bytes, entries: list[zipfile.ZipInfo]) -> str:
    """Whether the entries follow each other without a gap, from the file's first byte to the directory."""
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    if ordered[0].header_offset != 0:
        return "refused: something stands before the archive"
    begins = [*(entry.header_offset for entry in ordered), archive.start_dir]
    for entry, (begin, following) in zip(ordered, itertools.pairwise(begins), strict=True):
        archive.open(entry).close()  # compares the name before the data with the directory's
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            return f"refused: {entry.orig_filename!r} is compressed, which torch.save does not do"
        lengths = struct.unpack("<2H", data[begin + 26 : begin + 30])  # of name and extra field
        gap = following - (begin + 30 + sum(lengths) + entry.file_size)
        if gap not in (_DESCRIPTOR_LENGTHS if entry.flag_bits & _HAS_DESCRIPTOR else (0,)):
            return "refused: its entries overlap, or something stands between them"
    return ""

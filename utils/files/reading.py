"""Files that are read whole: only what `stat` calls a regular file is opened.

A pipe would wait for ever for somebody who writes into it, and a device may never end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from utils.errors import UserError

_AT_ONCE = 2**16  # bytes
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(
    path: Path,
    what: str,
    *,
    most_bytes: int | None = None,
    error: type[UserError] = UserError,
    if_missing: str = "",
) -> os.stat_result:
    """Refuse what is no regular file (symbolic links are followed), without opening it.

    Args:
        path: which file.
        what: it should be, for the message: "checkpoint".
        most_bytes: its size may be this at most; None: any.
        error: kind of the error.
        if_missing: what is said besides where there is no such file.

    Returns:
        what `stat` says of the file.

    Raises:
        UserError: of the kind `error`, in one line: it is missing, unreachable, too large, or no regular file.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        told = "a symbolic link to a file that isn't there" if path.is_symlink() else f"no such {what}{if_missing}"
        raise error(f"{path}: {told}") from None
    except OSError as problem:
        loop = problem.errno == errno.ELOOP
        told = "a symbolic link that leads back to itself" if loop else (problem.strerror or str(problem))
        raise error(f"{path}: can't be read: {told}") from None
    except ValueError:  # a NUL in the name
        raise error(f"{str(path)!r}: no such {what}: no file can have this name") from None
    if kind := _no_file(status):
        raise error(f"{path}: can't be read as a {what}: it is {kind}")
    if most_bytes is not None and status.st_size > most_bytes:
        raise error(f"{path}: {status.st_size} bytes are too many for a {what}; at most {most_bytes} are read")
    return status


def in_the_way(path: Path) -> str:
    """What stands where a file is to be written and is none: "a pipe"; empty where there is a file or nothing."""
    try:
        return _no_file(path.stat())
    except OSError:
        return ""


def _no_file(status: os.stat_result) -> str:
    """Its kind in words; empty for a regular file."""
    return "" if stat.S_ISREG(status.st_mode) else _KINDS.get(stat.S_IFMT(status.st_mode), "no file")


def read_regular_file(
    path: Path,
    what: str,
    *,
    most_bytes: int | None = None,
    error: type[UserError] = UserError,
    if_missing: str = "",
) -> bytes:
    """The bytes of a regular file, read once; see `regular_file` for arguments and errors."""
    regular_file(path, what, most_bytes=most_bytes, error=error, if_missing=if_missing)
    try:
        with path.open("rb") as file:
            return file.read() if most_bytes is None else read_at_most(file, most_bytes)
    except OSError as problem:
        raise error(f"{path}: can't be read: {problem.strerror}") from None


def read_at_most(file: IO[bytes], most_bytes: int) -> bytes:
    """What is left of an open file, up to so many bytes; memory is taken for what there is, not for the most."""
    parts = []
    while part := file.read(min(most_bytes, _AT_ONCE)):
        parts.append(part)
        most_bytes -= len(part)
    return b"".join(parts)


def read_text_file(path: Path, what: str, *, most_bytes: int, if_missing: str = "") -> str:
    """The text in a regular file, in UTF-8 with or without a byte order mark; see `regular_file` for the rest."""
    try:
        content = read_regular_file(path, what, most_bytes=most_bytes, if_missing=if_missing)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UserError(f"{path}: can't be read as a {what}: no text in UTF-8 (at byte {problem.start})") from None

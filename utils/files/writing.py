"""Files that are either whole or not there: written beside their place, flushed, and renamed into it."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from utils.errors import UserError
from utils.files.reading import in_the_way


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file in the same folder, flush it to the disk and rename it to `path`.

    A symbolic link to a file is replaced, not followed.

    Raises:
        UserError: the folder can't be written to or the disk is full; an earlier file at `path` is untouched. Or what
            is there is no file: a pipe or a device (`/dev/null`) would be replaced.
    """
    if kind := in_the_way(path):
        raise UserError(f"{path}: can't be written: {kind} is in the way")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(usual_rights())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """`write_atomically` of bytes."""
    write_atomically(path, lambda file: file.write(content))


def write_text(path: Path, content: str) -> None:
    """`write_atomically` of text, see `encoded`."""
    write_bytes(path, encoded(content))


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows below a header as a CSV's text: a line break after each row, None an empty cell, NaN `nan`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def encoded(text: str) -> bytes:
    r"""Text in UTF-8. What has no UTF-8, a byte of a file's name, say, becomes `\udcff`: its escape in JSON."""
    return text.encode("utf-8", "backslashreplace")


def new_folder(parent: Path) -> Path:
    """A folder below `parent` that did not exist before, named by the time; safe against a second run's making it."""
    stamp = datetime.now().strftime("%Y%m%d_%H%M%S")
    for attempt in range(1, 10_000):
        folder = parent / (stamp if attempt == 1 else f"{stamp}_{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if folder.is_dir():
                continue
            raise UserError(f"{parent}: can't make a folder for the run: a file is in the way") from None
        except OSError as error:
            raise UserError(f"{parent}: can't make a folder for the run: {error.strerror} (trainer.save_dir)") from None
        return folder
    raise UserError(f"{parent}: holds too many runs of this second")


def usual_rights() -> int:
    """Those of a file that a program makes: what the umask leaves."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush_folder(folder: Path) -> None:
    """Make a renaming last, where the system lets folders be flushed (Windows doesn't, and needs no such thing)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Arrays that another program has written as `.npy` or `.npz`; nothing in them is ever unpickled."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from utils.config.wording import shown
from utils.errors import UserError, nearest, reason_of
from utils.files.reading import regular_file

MOST_BYTES = 8 * 2**30
"""Of a file, and of an array that is unpacked from one."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_PLAIN = "biufU"  # kinds of dtypes: numbers and text
_NAMES_SHOWN = 10


def read_numpy(path: Path, what: str, *, key: str | None = None, flag: str = "--key") -> np.ndarray:
    """The array of a `.npy` file, or one of those in a `.npz` file: numbers or text.

    Args:
        path: which file; its first bytes tell which of the two it is.
        what: it is, for messages: "file of logits".
        key: name of the array in a `.npz` file; None: the only one.
        flag: that names the key, for messages.

    Raises:
        UserError: in one line: no regular file, too large, damaged, pickled objects, an array that there is not, or
            several and no key.
    """
    status = regular_file(path, what, most_bytes=MOST_BYTES)
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                return _of_archive(path, file, key, flag)
            if key is not None:
                raise UserError(f"{path}: {flag} names an array of a .npz file, and this is none")
            file.seek(0)
            return _plain_array(str(path), file, status.st_size)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise UserError(f"{path}: can't be read as a {what}: {reason_of(error)}") from None


def _of_archive(path: Path, file: IO[bytes], key: str | None, flag: str) -> np.ndarray:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        listed = ", ".join([*members][:_NAMES_SHOWN]) + ", …" * (len(members) > _NAMES_SHOWN)
        if not members:
            raise UserError(f"{path}: holds no array")
        if key is None and len(members) > 1:
            raise UserError(f"{path}: holds several arrays; name one with {flag}: {listed}")
        if key is not None and key not in members:
            raise UserError(f"{path}: holds no array {shown(key)}{nearest(key, members) or f'; {flag} {listed}'}")
        name = key if key is not None else next(iter(members))
        size = members[name].file_size
        if size > MOST_BYTES:
            raise UserError(f"{path}: {name}: {size} bytes are too many; at most {MOST_BYTES} are read")
        with archive.open(members[name]) as member:
            array = _plain_array(f"{path}: {name}", member, size)
            member.read(1)  # at the end the archive's checksum is compared
        return array


def _plain_array(named: str, file: IO[bytes], size: int) -> np.ndarray:
    """An array of a file of so many bytes: memory is taken only if its header fits the size."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise UserError(f"{named}: holds no plain array (version {version[0]}.{version[1]} of the format)")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise UserError(f"{named}: holds pickled Python objects, which are not read; save plain numbers")
    if dtype.kind not in _PLAIN:
        raise UserError(f"{named}: holds {dtype}, no plain numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size:
        raise UserError(f"{named}: is damaged: {size} bytes can't hold the shape {list(shape)} of {dtype}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)

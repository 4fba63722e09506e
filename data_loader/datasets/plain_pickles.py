"""Pickles of NumPy arrays and plain containers, as CIFAR's files are: read without running or believing anything."""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from data_loader.datasets.labelled_images import MOST_BYTES
from utils.errors import UserError, reason_of
from utils.files.reading import read_regular_file

_NUMBERS_ITS_ENTRIES = ("PUT", "BINPUT", "LONG_BINPUT")  # opcodes that say where in the memo an object is kept


def read_plain_pickle(path: Path, kind: str) -> dict[str, Any]:
    """The dictionary in a pickle; byte strings of Python 2 are read as Latin-1.

    Args:
        path: the file.
        kind: whose format it should have, for the message: "CIFAR".

    Raises:
        UserError: the file is missing, no file, too large, damaged, holds something that could run code, or no
            dictionary; or it would take more memory than its size warrants.
    """
    content = read_regular_file(path, "file (data_loader.args.data_dir)", most_bytes=MOST_BYTES)
    try:
        _check_memo(content)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*align.*")  # NumPy on pickles of NumPy 1
            holds = _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: damaged or not in {kind}'s format ({reason_of(error)})") from None
    if not isinstance(holds, dict):
        raise UserError(f"{path}: not in {kind}'s format: it holds a {type(holds).__name__}")
    for key, value in holds.items():  # a shape is quickly written, and a stride of 0 fills it
        if isinstance(value, np.ndarray) and not value.dtype.hasobject and value.nbytes > len(content):
            told = f"the file's {len(content)} bytes can't hold an array of shape {value.shape}"
            raise UserError(f"{path}: not in {kind}'s format: {key!r}: {told}")
    return holds


class _PlainUnpickler(pickle.Unpickler):
    """Admits NumPy arrays and plain containers, and nothing that could run code."""

    _ADMITTED = frozenset(
        (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
    ) | {("numpy", "ndarray"), ("numpy", "dtype")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"refused: it holds a {module}.{name}")
        return super().find_class(module, name)


def _bytes_of(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in old protocols: as text; other encodings than its one could go on growing."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused: bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _check_memo(content: bytes) -> None:
    """Refuse a pickle that keeps an object at a place far behind the others': all up to it would be reserved."""
    for count, (code, argument, _) in enumerate(pickletools.genops(content)):
        if code.name in _NUMBERS_ITS_ENTRIES and isinstance(argument, int) and argument > count:
            raise pickle.UnpicklingError(f"refused: object {count} is kept at place {argument}")

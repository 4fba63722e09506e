"""Reading a pickled checkpoint without executing anything of it.

Published checkpoints hold a pickled configuration object beside their weights. They are read by torch's own restricted
reader (`weights_only=True`), which knows no classes but those that it is told of: it is told of a stub for each class
from elsewhere, an inert record that keeps the object's attributes. Whatever could run code (anything of the standard
library, of torch or NumPy that torch does not admit by itself) gets no stub, so torch refuses it by name.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from torch.serialization import safe_globals

from utils.errors import CheckpointError
from utils.files.checkpoint import unpickle
from utils.files.checkpoint_schema import check_structure
from utils.files.reading import read_regular_file
from utils.files.torch_archive import is_zip, sound_digest

_INERT_MODULES = ("pathlib", "argparse", "logging", "datetime")  # of the standard library; their objects hold data
_CLOSED_MODULES = frozenset(sys.stdlib_module_names) | {"torch", "torchvision", "numpy", "__builtin__", "copy_reg"}
_LEGACY_PICKLES = 5  # of torch's old format, before the weights: magic number, version, machine, content, storages
_NUMBER = re.compile(r"[biuf]\d")


class InertRecord:
    """What is left of an object of an unknown class: its attributes, and nothing that acts."""

    def __new__(cls, *args: Any, **kwargs: Any) -> InertRecord:
        """Whatever the class was to be called with is dropped."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({key: value for key, value in state.items() if isinstance(key, str)})


class _NumberType(InertRecord):
    """What is left of a NumPy type: its name, and its byte order, which is little where it isn't said."""

    def __init__(self, name: Any = None, *args: Any) -> None:
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.order = ">"


def _plain_scalar(kind: Any, data: Any) -> Any:
    """A NumPy number; anything else is refused."""
    name = getattr(kind, "name", None)
    if not isinstance(data, bytes) or not isinstance(name, str) or not _NUMBER.fullmatch(name):
        raise pickle.UnpicklingError("refused: a NumPy scalar that is no number")
    return np.frombuffer(data, np.dtype(name).newbyteorder(kind.order))[0].item()


_ADMITTED: list[Any] = [
    (_NumberType, "numpy.dtype"),
    (_plain_scalar, "numpy.core.multiarray.scalar"),
    (_plain_scalar, "numpy._core.multiarray.scalar"),
]


def load_inertly(path: Path) -> dict[str, Any]:
    """Read a pickled checkpoint onto the CPU; unknown objects become `InertRecord`s, nothing is executed.

    Raises:
        CheckpointError: it is missing, damaged, or holds something that could run code.
    """
    archive = read_regular_file(path, "checkpoint", error=CheckpointError)
    sound_digest(archive, path)
    try:
        with safe_globals([*_ADMITTED, *_stubs(archive)]):
            content = unpickle(archive, path)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        told = f"refused: it calls {name[1]}" if name else "refused: it holds more than records, tensors and plain data"
        raise CheckpointError(f"{path}: can't be converted: {told}") from None
    except Exception:  # of the stubs' search: pickletools and zipfile raise half a dozen kinds
        raise CheckpointError(f"{path}: can't be converted: cut short or damaged") from None
    check_structure(content, path, records=(InertRecord,))
    return content


def _stubs(archive: bytes) -> list[Any]:
    """A class for each name in a sound file that nothing is known of: (class, "module.name")."""
    names = {tuple(argument.split(" ", 1)) for argument in _globals_of(archive)}
    return [
        (type(name.rpartition(".")[2], (InertRecord,), {"__module__": module}), f"{module}.{name}")
        for module, name in names
        if (root := module.partition(".")[0]) not in _CLOSED_MODULES or root in _INERT_MODULES
    ]


def _globals_of(archive: bytes) -> set[str]:
    """What the pickles in a file name: "module name"."""
    if is_zip(archive):
        with zipfile.ZipFile(io.BytesIO(archive)) as entries:
            name = next(name for name in entries.namelist() if name.endswith("/data.pkl"))
            pickles, count = io.BytesIO(entries.read(name)), 1
    else:
        pickles, count = io.BytesIO(archive), _LEGACY_PICKLES
    operations = (operation for _ in range(count) for operation in pickletools.genops(pickles))
    return {argument for code, argument, _ in operations if code.name == "GLOBAL" and isinstance(argument, str)}

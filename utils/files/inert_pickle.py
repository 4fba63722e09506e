"""Reading a pickled checkpoint without executing anything of it.

Published checkpoints hold a pickled configuration object beside their weights. This unpickler admits tensors and
plain containers; instances of classes from elsewhere become inert records that keep their attributes, and whatever
could run code (anything of the standard library, of torch or NumPy that is not on the list) is refused by name.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import torch

from utils.files.checkpoint import CheckpointError


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

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Lists' subclasses are filled by this."""

    def extend(self, items: Any) -> None:
        """Lists' subclasses are filled by this."""


def _plain_scalar(dtype: np.dtype, data: bytes) -> Any:
    """A NumPy number; objects, which could hold anything, are refused."""
    if dtype.hasobject or not isinstance(data, bytes):
        raise pickle.UnpicklingError("refused: a NumPy scalar that is no number")
    return np.frombuffer(data, dtype)[0].item()


def _reconstruct(kind: type, base: type, state: Any) -> InertRecord:
    """What `copyreg._reconstructor` is for, for records only."""
    if not (isinstance(kind, type) and issubclass(kind, InertRecord)):
        raise pickle.UnpicklingError(f"refused: it reconstructs a {kind!r}")
    return kind()


_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "object"): InertRecord,
    ("__builtin__", "object"): InertRecord,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): _plain_scalar,
    ("numpy._core.multiarray", "scalar"): _plain_scalar,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding) if encoding == "latin1" else None,
}
_STORAGE_MODULES = ("torch", "torch.storage", "torch.cuda")
_INERT_MODULES = ("pathlib", "argparse", "logging", "datetime")  # of the standard library; their objects hold data
_CLOSED_MODULES = frozenset(sys.stdlib_module_names) | {"torch", "torchvision", "numpy", "__builtin__", "copy_reg"}


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        root = module.partition(".")[0]
        if module in _STORAGE_MODULES and name.endswith("Storage") and "." not in name:
            return super().find_class(module, name)
        if root in _CLOSED_MODULES and root not in _INERT_MODULES:
            raise pickle.UnpicklingError(f"refused: it calls {module}.{name}")
        return type(name.rpartition(".")[2], (InertRecord,), {"__module__": module})


def _pickle_module() -> ModuleType:
    """What torch.load takes for the module `pickle`."""
    module = ModuleType("inert_pickle")
    module.Unpickler = _InertUnpickler  # type: ignore[attr-defined]
    load: Callable[..., Any] = lambda file, **options: _InertUnpickler(file, **options).load()  # noqa: E731
    module.load = load  # type: ignore[attr-defined]
    return module


def load_inertly(path: Path) -> dict[str, Any]:
    """Read a pickled checkpoint onto the CPU; unknown objects become `InertRecord`s, nothing is executed.

    Raises:
        CheckpointError: it is missing, damaged, or holds something that could run code.
    """
    try:
        with path.open("rb") as file:
            _refuse_scripts(file, path)
            content = torch.load(file, map_location="cpu", pickle_module=_pickle_module(), weights_only=False)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except CheckpointError:
        raise
    except Exception as error:  # torch and pickle raise half a dozen kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: can't be converted: {reason}") from None
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{path}: no checkpoint: it holds no 'state_dict'")
    return content


def _refuse_scripts(file: IO[bytes], path: Path) -> None:
    """A TorchScript archive is a program: torch.load would run it."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            if any(Path(name).name == "constants.pkl" for name in archive.namelist()):
                raise CheckpointError(f"{path}: refused: a TorchScript archive, which is a program")
    file.seek(0)

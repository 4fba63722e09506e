"""Registries by files: the entries of a package are what its modules list in `__all__`, so an addition is one file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any


def collect(package: str, path: Iterable[str]) -> dict[str, Any]:
    """Name → entry of every module of a package that has an `__all__`, in the order of the modules' names.

    Args:
        package: the package's name (`__name__` in its `__init__`).
        path: where its modules lie (`__path__` there).

    Raises:
        ImportError: two modules list the same name.
    """
    entries: dict[str, Any] = {}
    for info in pkgutil.iter_modules(path):
        module = importlib.import_module(f"{package}.{info.name}")
        for name in getattr(module, "__all__", ()):
            if name in entries:
                raise ImportError(f"{package}: two of its files list {name!r} in __all__; names must differ")
            entries[name] = getattr(module, name)
    return entries

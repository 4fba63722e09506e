"""The loaders that a configuration may name in `data_loader.type`: what the files of this package list in `__all__`."""

from typing import Any

from utils.registry import collect

_LOADERS = collect(__name__, __path__)

__all__ = list(_LOADERS)


def __getattr__(name: str) -> Any:
    try:
        return _LOADERS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

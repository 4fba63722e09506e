"""What is trained: each method is one file, and every name in a file's `__all__` may be a configuration's `method`."""

from utils.registry import collect

_entries = collect(__name__, __path__)
globals().update(_entries)
__all__ = list(_entries)

"""The losses that a configuration can name as `loss.type`: each is one file, which lists it in `__all__`."""

from utils.registry import collect

_entries = collect(__name__, __path__)
globals().update(_entries)
__all__ = list(_entries)

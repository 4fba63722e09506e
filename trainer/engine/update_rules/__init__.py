"""How gradients become an update: each rule is one file; the names may be a configuration's `update_rule`."""

from utils.registry import collect

_entries = collect(__name__, __path__)
globals().update(_entries)
__all__ = list(_entries)

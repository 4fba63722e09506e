"""How a state that was read differs in kind from the one that it is to replace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from utils.files.checkpoint_schema import described, shortened


def kind_differences(own: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Names under which one state dict has whole numbers where the other has floating ones, and which are which."""
    return [
        f"{name} {described(given[name])} instead of {described(own[name])}"
        for name in sorted(own.keys() & given.keys())
        if isinstance(own[name], Tensor)
        and isinstance(given[name], Tensor)
        and own[name].is_floating_point() != given[name].is_floating_point()
    ]


def type_difference(own: Any, given: Any, place: str = "it") -> str:
    """Where a state is not of the types of the one that it is to replace; empty where it fits.

    A number fits a number, a list a list (element by element the first of the own ones), a dict a dict (in the keys
    that both have), and anything fits None and None anything, since what is not yet known is None.
    """
    if own is None or given is None:
        return ""
    if _kind(own) != _kind(given):
        return f"{place} is {described(given)} instead of {described(own)}"
    pairs: list[tuple[Any, Any, str]] = []
    if isinstance(own, Mapping):
        pairs = [(own[key], given[key], f"{place}[{shortened(key)}]") for key in own if key in given]
    elif isinstance(own, (list, tuple)) and own:
        pairs = [(own[0], item, f"{place}[{number}]") for number, item in enumerate(given)]
    return next(filter(None, (type_difference(*pair) for pair in pairs)), "")


def _kind(value: Any) -> str:
    if isinstance(value, (bool, int, float)) or (isinstance(value, Tensor) and value.ndim == 0):
        return "number"
    kinds: list[tuple[str, tuple[type, ...]]] = [("dict", (Mapping,)), ("list", (list, tuple)), ("tensor", (Tensor,))]
    return next((kind for kind, types in kinds if isinstance(value, types)), type(value).__name__)

"""PyTorch's compiler, imported where something is compiled and not before.

PyTorch's optimisers and DistributedDataParallel import it (`torch._dynamo`) to say that their methods aren't to be
compiled: a third of the time that a short training takes to its first step.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

__all__ = ["import_compiler_late", "without_compiler"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_NAME = "torch._dynamo"


@cache
def import_compiler_late() -> None:
    """Keep optimisers from importing the compiler. Whoever else asks for it gets it; one that is there stays.

    To be called by a process that trains, before it makes an optimiser. A stand-in is there while optimisers take a
    step, and once while the methods are called that PyTorch asks about only the first time.
    """
    with without_compiler():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())
    register_optimizer_step_pre_hook(_stand_in)
    register_optimizer_step_post_hook(_withdraw)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Around what PyTorch would import the compiler for only to keep out of it; one that is there stays."""
    _stand_in()
    try:
        yield
    finally:
        _withdraw()


class _StandIn(ModuleType):
    """What the compiler's functions do for optimisers and DistributedDataParallel where nothing is compiled."""

    utils = SimpleNamespace(get_optimize_ddp_mode=lambda: "ddp_optimizer")
    """How compiled networks are cut for DistributedDataParallel: PyTorch's default."""

    @staticmethod
    def disable(function: _Function, *_: Any, **__: Any) -> _Function:
        """A function that is not to be compiled."""
        return function

    @staticmethod
    def graph_break() -> None:
        """The end of what is compiled as one."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what Python's tools look for in all modules
            raise AttributeError(attribute)
        _withdraw()
        return getattr(importlib.import_module(_NAME), attribute)


_STAND_IN = _StandIn(_NAME)


def _stand_in(*_: object) -> None:
    sys.modules.setdefault(_NAME, _STAND_IN)


def _withdraw(*_: object) -> None:
    if sys.modules.get(_NAME) is _STAND_IN:
        del sys.modules[_NAME]

"""PyTorch's compiler, imported where something is compiled and not before.

PyTorch's optimisers and DistributedDataParallel import it (`torch._dynamo`) to say that their methods aren't to be
compiled, and torchvision for an operation on boxes: more than a second, a third of the time that a short training takes
to its first step.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

__all__ = ["import_compiler_late", "import_without_compiler", "without_compiler"]

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


def import_without_compiler(name: str) -> Any:
    """A module that imports the compiler and has no use for it until it is called; with it where it needs more."""
    try:
        with without_compiler():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(f"{_NAME}."):
            raise
    return importlib.import_module(name)


class _StandIn(ModuleType):
    """A module that gives way to the real one as soon as it is asked for more than it has."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what Python's tools look for in all modules
            raise AttributeError(attribute)
        _withdraw()
        return getattr(importlib.import_module(self.__name__), attribute)


class _Utilities(_StandIn):
    """What the compiler's utilities say where nothing is compiled."""

    @staticmethod
    def get_optimize_ddp_mode() -> str:
        """How compiled networks are cut for DistributedDataParallel: PyTorch's default."""
        return "ddp_optimizer"

    @staticmethod
    def is_compile_supported(device_type: str) -> bool:
        """Asked by torchvision's `roi_align` when it is called."""
        _withdraw()
        supported: bool = importlib.import_module(f"{_NAME}.utils").is_compile_supported(device_type)
        return supported


class _Compiler(_StandIn):
    """What the compiler's functions do for optimisers and DistributedDataParallel where nothing is compiled."""

    @staticmethod
    def disable(function: Any = None, *arguments: Any, **options: Any) -> Any:
        """A function that is not to be compiled, as it is; a decorator is the compiler's."""
        if function is not None:
            return function
        _withdraw()
        return importlib.import_module(_NAME).disable(function, *arguments, **options)

    @staticmethod
    def graph_break() -> None:
        """The end of what is compiled as one."""

    utils = _Utilities(f"{_NAME}.utils")


_STAND_INS: dict[str, ModuleType] = {_NAME: _Compiler(_NAME), _Compiler.utils.__name__: _Compiler.utils}


def _stand_in(*_: object) -> None:
    if _NAME not in sys.modules:
        sys.modules.update(_STAND_INS)


def _withdraw(*_: object) -> None:
    for name, module in _STAND_INS.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]

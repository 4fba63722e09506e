"""PyTorch's compiler, imported where something is compiled and not before.

PyTorch's optimisers import it (`torch._dynamo`) to say that their steps aren't to be compiled: a third of the time that
a short training takes to its first step.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

__all__ = ["import_compiler_late"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_NAME = "torch._dynamo"


def import_compiler_late() -> None:
    """Let a stand-in say what the optimisers want to say; asked for anything else, it imports the compiler.

    To be called by a process that trains, before it makes an optimiser. Where the compiler has been imported nothing
    happens.
    """
    sys.modules.setdefault(_NAME, _StandIn(_NAME))


class _StandIn(ModuleType):
    """What the compiler's functions do where nothing is compiled."""

    @staticmethod
    def disable(function: _Function, *_: Any, **__: Any) -> _Function:
        """A function that is not to be compiled."""
        return function

    @staticmethod
    def graph_break() -> None:
        """The end of what is compiled as one."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # what Python's tools look for in all modules
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)

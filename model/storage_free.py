"""Networks and losses without storage: built to see whether they can be, and how large they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_FILLED = {Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_normal_, init.kaiming_uniform_}
_DRAWN = {torch.rand, torch.randn}


@contextmanager
def without_storage() -> Iterator[None]:
    """A region in which tensors are made on PyTorch's device "meta", and no random numbers are drawn for them.

    There PyTorch's Python code would draw them, which takes a second to import.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What `func` returns; a tensor without storage as it is, where it would be filled with random numbers."""
        kwargs = kwargs or {}
        if func in _FILLED:
            unfilled = args[0] if args else kwargs["tensor"]
        elif func in _DRAWN:
            unfilled = torch.empty(*args, **{name: value for name, value in kwargs.items() if name != "generator"})
        else:
            return func(*args, **kwargs)
        return unfilled if unfilled.is_meta else func(*args, **kwargs)

"""A GPU that is not there: tensors that have a device, a shape and a type and no content, so that none can be read.

What asks such a tensor for a number, on which the next thing to do depends, fails. A process that trains on a real GPU
would have to wait there. Gradients are zeros: PyTorch runs the backward pass in threads that need the real device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from base import BaseDataLoader, Batch
from data_loader.datasets import image_sets
from data_loader.loader import ImageDataLoader
from data_loader.transforms import batch_transforms
from tests.trainer import small_runs
from trainer.config.run_config import run_config
from trainer.engine.precision import Precision
from trainer.loaders import build_loaders
from trainer.trainer import Trainer

GPU = torch.device("cuda", 0)

T = TypeVar("T")


class NothingWaits(TorchDispatchMode):
    """Fails where a copy between a processor and a GPU makes the processor wait.

    Args:
        pinned: the tensors that lie in pinned memory.
    """

    def __init__(self, pinned: list[Tensor]) -> None:
        super().__init__()
        self.pinned = pinned
        self.copies = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        given, found = _tensors((args, kwargs)), _tensors(result)
        if _any_on("cuda", given):
            assert not _any_on("cpu", found), f"{function} fetches from the GPU"
        if _any_on("cuda", [*given, *found]):
            moves = function is torch.ops.aten._to_copy.default
            for tensor in given:
                if tensor.device.type == "cpu" and (moves or tensor.dim()):  # the host reads single numbers for itself
                    assert moves, f"{function} is given a tensor that does not lie on the GPU"
                    assert (kwargs or {}).get("non_blocking"), f"waits for a copy of {tuple(tensor.shape)}"
                    assert any(tensor is known for known in self.pinned), f"not pinned: {tuple(tensor.shape)}"
                    self.copies += 1
        return result


class ImaginedGPU:
    """See the module.

    Args:
        patch: puts everything back after the test.

    Attributes:
        free: bytes of its memory.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._mode.cache_enabled = False  # its cache of shapes outlives tests
        self._pinned: list[Tensor] = []
        self.free = 80e9
        self._optimizer: torch.optim.Optimizer | None = None
        patch.setattr(small_runs, "CPU", GPU)
        patch.setattr(image_sets, "free_memory", lambda device: self.free)
        patch.setattr(small_runs, "run_config", _really(run_config))
        patch.setattr(small_runs, "build_loaders", _really(_read_loaders))
        patch.setattr(nn.Module, "_apply", _apply)
        patch.setattr(Precision, "backward", lambda precision, loss: self._backward())
        pinned = self._pinned

        def pin_memory(tensor: Tensor) -> Tensor:
            pinned.append(tensor)
            return tensor

        patch.setattr(Tensor, "pin_memory", pin_memory)
        # what is kept for the whole process must not hold a tensor without content
        patch.setattr(batch_transforms, "_scale_and_offset", cache(batch_transforms._scale_and_offset.__wrapped__))

    def trainer(self, folder: Path, config: Mapping[str, Any]) -> Trainer:
        """A small run's, its network on the GPU."""
        with self._mode:
            trainer = small_runs.small_trainer(folder, config)
        trainer.recorder.close()
        self._optimizer = trainer.optimizer
        return trainer

    @contextmanager
    def there(self) -> Iterator[None]:
        """With the GPU."""
        with self._mode:
            yield

    @contextmanager
    def watched(self) -> Iterator[NothingWaits]:
        """On the GPU, where nothing may wait."""
        with self._mode, NothingWaits(self._pinned) as watcher:
            yield watcher

    def _backward(self) -> None:
        assert self._optimizer is not None
        for group in self._optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.zeros_like(weight)


def _really(function: Callable[..., T]) -> Callable[..., T]:
    """A function that works with real tensors all the same."""

    def run(*arguments: Any, **options: Any) -> T:
        with unset_fake_temporarily():
            return function(*arguments, **options)

    return run


def _read_loaders(*arguments: Any, **options: Any) -> dict[str, ImageDataLoader]:
    """Those of a run, which have their images."""
    loaders = build_loaders(*arguments, **options)
    for loader in loaders.values():
        _ = loader.splits
    return loaders


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """As torch's, by new parameters: one without content can't take another's place."""
    for child in module.children():
        _apply(child, function)
    for name, weight in module._parameters.items():
        if weight is not None:
            module._parameters[name] = nn.Parameter(function(weight.detach()), weight.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = function(buffer)
    return module


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _any_on(kind: str, tensors: list[Tensor]) -> bool:
    return any(tensor.device.type == kind for tensor in tensors)


def first_batches(loader: BaseDataLoader, count: int) -> list[Batch]:
    """Of the first epoch, as they leave the loader."""
    return [batch for _, batch in zip(range(count), loader.epoch(1), strict=False)]

"""What an epoch gives a network, and the smallest loader of all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from base import Batch
from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.loader import ImageDataLoader

DIGITS = [120, 79, 52, 35, 23, 15, 10, 6, 4, 3]


def digits(**arguments: Any) -> ImbalanceDigitsDataLoader:
    return ImbalanceDigitsDataLoader(**{"batch_size": 64, "num_workers": 0, **arguments})


def inputs(loader: ImageDataLoader, epoch: int, **arguments: int) -> list[tuple[Tensor, Tensor, np.ndarray]]:
    """Everything that an epoch gives a network, transforms done."""
    return [(batch.view(), batch.targets, batch.sample_ids) for batch in loader.epoch(epoch, **arguments)]


def same_inputs(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and np.array_equal(a[2], b[2])
        for a, b in zip(first, second, strict=True)
    )


def targets_of(batches: Iterable[Batch]) -> np.ndarray:
    return np.concatenate([batch.targets.numpy() for batch in batches])

"""Raw images and sample ids for tests of transforms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def ids_of(count: int, epoch: int = 2) -> np.ndarray:
    sample_ids = np.zeros((count, 3), np.int64)
    sample_ids[:, 0], sample_ids[:, 1] = epoch, np.arange(count) * 7
    return sample_ids


def pictures(count: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """Images without a zero, so that zeros in the result are filled in."""
    return torch.randint(
        1, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )

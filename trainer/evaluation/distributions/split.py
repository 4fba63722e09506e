"""What a test distribution is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


def _no_lists(name: str) -> None:
    return None


@dataclass(frozen=True)
class TestSplit:
    """A whole test split, without its images.

    Args:
        targets: labels, int64, shape [N].
        class_counts: training images of each class, length C.
        published: name of a distribution → the images that a published list names for it, int64 indices; None where
            there is no list.
    """

    __test__ = False

    targets: np.ndarray
    class_counts: Sequence[int]
    published: Callable[[str], np.ndarray | None] = _no_lists

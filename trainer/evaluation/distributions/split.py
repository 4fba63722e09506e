"""What a test distribution is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # PyTorch takes seconds to import, and the distributions' names are checked without it
    from data_loader.loader import ListedImages


_NEARLY = 1.2


def _no_lists(name: str) -> None:
    return None


@dataclass(frozen=True)
class TestSplit:
    """A whole test split, without its images.

    Args:
        targets: labels, int64, shape [N].
        class_counts: training images of each class, length C; None: unknown, and `num_classes` is given.
        listed: name of a distribution → the images that a list file names for it; None where there is no list.
        shifts_are_listed: whether a shifted set without a list is another than the benchmark's.
        num_classes: C; None: as many as `class_counts` has.
        class_names: length C; None: the indices.
        names: what list files call the N images; None: the images' numbers, from 0.
        unreadable: what they call images that are not among the N, since they could not be read.
    """

    __test__ = False

    targets: np.ndarray
    class_counts: Sequence[int] | None
    listed: Callable[[str], ListedImages | None] = _no_lists
    shifts_are_listed: bool = False
    num_classes: int | None = None
    class_names: Sequence[str] | None = None
    names: Callable[[], list[str]] | None = None
    unreadable: Sequence[str] = ()

    @cached_property
    def sizes(self) -> np.ndarray:
        """Test images of each class, int64, shape [C]."""
        return np.bincount(self.targets, minlength=self.num_classes or len(self.training_counts))

    @property
    def training_counts(self) -> np.ndarray:
        """`class_counts` [C], or a ValueError where they are unknown."""
        if self.class_counts is None:
            raise ValueError("it follows the training frequencies, and they are not known (--train-counts)")
        return np.asarray(self.class_counts)

    def image_names(self) -> list[str]:
        """What list files call the images, length N."""
        return [str(number) for number in range(len(self.targets))] if self.names is None else self.names()

    @property
    def in_words(self) -> str:
        """A line on a split that is not uniform, which the balanced accuracy makes good for; else nothing."""
        if self.is_uniform:
            return ""
        sizes = self.sizes
        return f"{sizes.sum()} test images as split, not uniform: {sizes.max()} to {sizes.min()} a class\n"

    @property
    def is_uniform(self) -> bool:
        """Whether every class has as many images, or nearly: the largest up to a fifth more than the smallest."""
        return bool(0 < self.sizes.max() <= _NEARLY * self.sizes.min())

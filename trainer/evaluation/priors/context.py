"""What a correction of the prior may know beside a test set's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PriorContext:
    """The test set's labels, and the training set.

    Args:
        targets: labels of the test set, [M]; for what assumes that the test prior is known, and for nothing else.
        class_counts: training images of each class, length C.
    """

    targets: np.ndarray
    class_counts: Sequence[int]

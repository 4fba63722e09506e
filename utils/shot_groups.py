"""Classes by their number of training images: many, medium and few shots."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MANY_ABOVE = 100
FEW_BELOW = 20


def shot_groups(class_counts: ArrayLike) -> dict[str, NDArray[np.bool_]]:
    """Masks [C] of the classes with many (> 100), medium (20 … 100) and few (< 20) *training* images.

    Args:
        class_counts: training images of each class, length C, of the run's own configuration.
    """
    counts = np.asarray(class_counts)
    many, few = counts > MANY_ABOVE, counts < FEW_BELOW
    return {"many": many, "medium": ~(many | few), "few": few}

"""What a test distribution is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BY_RULE, LIST_FILE, PUBLISHED_LIST = "by rule", "list file", "published list"


@dataclass(frozen=True)
class Distribution:
    """A test distribution.

    Args:
        name: "forward50", "uniform", "backward2", …
        indices: which images of the test split it holds, int64, shape [M].
        selection: how they were chosen: "published list", "list file" (another than the published), "by rule", or by
            rule from a prior in a file.
        stands_in: chosen by rule for want of a list, so that they are not the benchmark's images.
    """

    name: str
    indices: np.ndarray
    selection: str = BY_RULE
    stands_in: bool = False

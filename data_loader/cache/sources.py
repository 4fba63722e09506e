"""Whether the files that a cache was made from are still those they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_loader.cache.layout import STORED
from data_loader.datasets.contents import file_digests, stat_files


def changed_sources(records: np.ndarray, paths: Sequence[str], *, most_read: int | None = None) -> np.ndarray:
    """The indices of files that are others than a cache's records say, or gone; int64, ascending.

    Size and time of all are compared. Where only the time differs, as after a copy, the SHA-256 decides.

    Args:
        records: see `layout.RECORD`; length N.
        paths: where the files lie, length N.
        most_read: of the files with another time so many are read, spread evenly over them; None: all.
    """
    sizes, times = stat_files(paths).T
    stored = records["state"] == STORED  # what isn't is read from its file in any case
    other_size = stored & (sizes != records["size"])
    suspects = np.flatnonzero(stored & ~other_size & (times != records["time"]))
    if most_read is not None and len(suspects) > most_read:
        suspects = suspects[np.linspace(0, len(suspects) - 1, most_read).astype(int)]
    found = file_digests([paths[int(index)] for index in suspects]) if len(suspects) else []
    known = [bytes(digest).hex() for digest in records["digest"][suspects]]
    other_content = suspects[np.array([a != b for a, b in zip(found, known, strict=True)], bool)]
    return np.union1d(np.flatnonzero(other_size), other_content)

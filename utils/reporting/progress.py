"""Progress bars: what is being done, how fast, and how long it will take."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

_SECONDS = 0.5  # between two looks of a bar


def progress_bar(title: str, total: int, unit: str = "img", *, shown: bool = True) -> Any:
    """A bar on standard error that vanishes when it is done; none where nobody watches (no terminal).

    It is redrawn twice a second at most: what it says may have to be fetched from a device, which has to be waited for.

    Args:
        title: what is being done.
        total: of the units that are counted.
        unit: short name of what is counted.
        shown: false: no bar in any case, since another process shows one.
    """
    hidden = None if shown else True  # None: where there is no terminal
    how = {"leave": False, "dynamic_ncols": True, "smoothing": 0.1, "mininterval": _SECONDS}
    return tqdm(total=total, desc=title, unit=unit, disable=hidden, **how)

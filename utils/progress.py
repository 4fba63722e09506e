"""Progress bars: what is being done, how fast, and how long it will take."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_bar(title: str, total: int, unit: str = "img") -> Any:
    """A bar on standard error that vanishes when it is done; none where nobody watches (no terminal)."""
    return tqdm(total=total, desc=title, unit=unit, leave=False, disable=None, dynamic_ncols=True, smoothing=0.1)

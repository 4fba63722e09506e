"""How sure a share is that was counted on a few images."""

from __future__ import annotations

import math

_Z = 1.959964  # of 95 %


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a probability that was estimated by a share of `count` independent trials.

    Args:
        share: 0 … 1.
        count: ≥ 1.

    Returns:
        (low, high), within 0 … 1. Source: Wilson, *Probable inference, the law of succession, and statistical
        inference*, 1927.

    Raises:
        ValueError: a share outside of 0 … 1, or no trials.
    """
    if not 0 <= share <= 1 or count < 1:
        raise ValueError(f"no share of {count} trials: {share}")
    weight = _Z**2 / count
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def trials_needed(half_width: float) -> int:
    """How many trials make Wilson's 95 % interval ± `half_width` wide at most, whatever the share.

    It is widest at a share of ½: ± z / (2 √(n + z²)).

    Args:
        half_width: 0 … ½, exclusive.

    Raises:
        ValueError: it is not.
    """
    if not 0 < half_width < 0.5:
        raise ValueError(f"no half width of an interval within 0 … 1: {half_width}")
    return math.ceil(_Z**2 * (1 / (4 * half_width**2) - 1))

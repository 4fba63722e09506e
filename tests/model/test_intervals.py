"""Wilson's interval: published values, the quadratic that defines it, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.intervals import wilson_interval


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe, *Two-sided confidence intervals for the single proportion*, 1998, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_values(right: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(right / count, count) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("share", "count"), [(0.8, 21), (0.5, 1), (0.01, 400)])
def test_its_ends_are_the_probabilities_that_the_share_is_just_not_far_from(share: float, count: int) -> None:
    for end in wilson_interval(share, count):
        assert abs(share - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / count))


def test_it_holds_the_truth_in_19_of_20_cases() -> None:
    drawn = np.random.default_rng(0).binomial(40, 0.9, 4000) / 40
    inside = [low <= 0.9 <= high for low, high in (wilson_interval(float(share), 40) for share in drawn)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_what_is_no_share_is_refused() -> None:
    for share, count in ((1.1, 5), (-0.1, 5), (0.5, 0), (math.nan, 5)):
        with pytest.raises(ValueError, match="no share"):
            wilson_interval(share, count)

"""Intervals of numbers, and how a message tells them."""

from __future__ import annotations

import math

import pytest

from utils.config.ranges import Range


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (Range(), [-math.inf, 0, math.inf], [math.nan]),
        (Range(low=1), [1, 2, 10**400], [0, 0.999, -math.inf, math.nan]),
        (Range(low=0, low_open=True), [5e-324, 1], [0, 0.0, -0.0, -1, math.nan]),
        (Range(high=2), [2, -5], [2.0001, math.inf]),
        (Range(low=0, high=1), [0, 0.5, 1], [-1e-9, 1 + 1e-9, math.nan]),
        (Range(low=0, high=1, low_open=True), [1e-9, 1], [0, 1.1]),
    ],
)
def test_a_range_admits_its_interval_and_never_nan(interval: Range, inside: list[float], outside: list[float]) -> None:
    assert all(interval.admits(value) for value in inside)
    assert not any(interval.admits(value) for value in outside)


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Range(low=1), "at least 1"),
        (Range(low=0, low_open=True), "more than 0"),
        (Range(high=0.5), "at most 0.5"),
        (Range(low=0, high=1), "at least 0 and at most 1"),
        (Range(), ""),
    ],
)
def test_a_range_tells_its_ends(interval: Range, words: str) -> None:
    assert str(interval) == words

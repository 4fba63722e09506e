"""Ranges in type hints: a constructor's signature says what the configuration may hold.

`batch_size: PositiveInt` is an `int` to a type checker and "an integer, at least 1" to the configuration's
validation (`utils.schema`), which checks each value before anything is built.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """The allowed interval of a number; `low_open` leaves the lower end out."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False

    def admits(self, value: float) -> bool:
        """Whether `value` lies in the interval; NaN lies in none."""
        if isinstance(value, float) and math.isnan(value):  # a huge integer has no float to ask
            return False
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        return above and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        low = None if self.low is None else f"{'more than' if self.low_open else 'at least'} {self.low:g}"
        high = None if self.high is None else f"at most {self.high:g}"
        return " and ".join(part for part in (low, high) if part)


PositiveInt = Annotated[int, Range(low=1)]
NonNegativeInt = Annotated[int, Range(low=0)]
PositiveFloat = Annotated[float, Range(low=0, low_open=True)]
NonNegativeFloat = Annotated[float, Range(low=0)]
Fraction = Annotated[float, Range(low=0, high=1)]

"""Which epoch was the best, and whether training still improves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from utils.errors import nearest


@dataclass(frozen=True)
class Monitor:
    """A monitored quantity, parsed from "max val_accuracy", "min val_loss" or "off".

    Args:
        mode: which way is better; "off" monitors nothing.
        name: the quantity's name in an epoch's log.
    """

    mode: Literal["min", "max", "off"]
    name: str = ""

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> Monitor:
        """Read the configuration's `trainer.monitor`.

        Raises:
            ValueError: it is not of this form, or names none of the quantities `names`.
        """
        mode, _, name = text.partition(" ")
        if text == "off":
            return cls("off")
        if mode not in ("min", "max") or not name:
            raise ValueError(f"expected 'off', 'min NAME' or 'max NAME'; got {text!r}")
        if name not in names:
            raise ValueError(f"{name!r} is not recorded; choose one of {', '.join(names)}{nearest(name, names)}")
        return cls("max" if mode == "max" else "min", name)

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether `value` beats the best so far (None: there is none); what is no finite number never does."""
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        return value > best if self.mode == "max" else value < best

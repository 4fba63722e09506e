"""Where several runs are trained: what the loop asks of it."""

from __future__ import annotations

import signal
from typing import Protocol

from trainer.many_runs.planned_run import Job


class Started(Protocol):
    """A run that has been handed over."""

    def code(self) -> int | None:
        """The exit code of its command; None: it has not ended."""

    def stop(self, number: signal.Signals) -> None:
        """Have it end as soon as it has written a checkpoint; returns at once."""


class Place(Protocol):
    """Takes runs."""

    def has_room(self) -> bool:
        """Whether a further run can be handed over now."""

    def start(self, job: Job) -> Started:
        """Hand a run over."""

"""Where several runs are trained: what this machine, SLURM and Ray have in common."""

from __future__ import annotations

import signal
from typing import Protocol

from trainer.many_runs.job import Job


class Started(Protocol):
    """A run that has been handed over."""

    def code(self) -> int | None:
        """The exit code of its command; None: it has not ended."""

    def why(self) -> str:
        """What else is known of its end than the exit code and what the command has printed; "": nothing."""

    def stop(self, number: signal.Signals) -> None:
        """Have it end as soon as it has written a checkpoint; returns at once."""


class Place(Protocol):
    """Takes runs."""

    def has_room(self) -> bool:
        """Whether a further run can be handed over now."""

    def start(self, job: Job) -> Started:
        """Hand a run over.

        Raises:
            RunError, OSError: this one can't be started.
        """

    def close(self) -> None:
        """Nothing more is asked of it."""

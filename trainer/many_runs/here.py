"""Runs as processes of this machine: side by side on its GPUs, one after the other where there is one or none."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress

import torch

from trainer.many_runs.job import Job, exit_code

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return (named or [str(index) for index in range(count)])[:count]


def shares_of(gpus: Sequence[str], *, each: int) -> list[tuple[str, ...]]:
    """The GPUs that runs side by side have, a share for each.

    Args:
        gpus: that are there.
        each: that a run wants. Where there are fewer, one run has them all; what is left over stays idle.

    Returns:
        the shares; one without any GPU where none is wanted or there.
    """
    size = min(each, len(gpus))
    if size < 1:
        return [()]
    return [tuple(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]


class Here:
    """This machine.

    Args:
        shares: the GPUs of each of the runs that are trained at the same time.
    """

    def __init__(self, shares: Sequence[tuple[str, ...]]) -> None:
        self.free = list(shares)
        self.at_once = len(shares)

    def has_room(self) -> bool:
        """Whether a share is free."""
        return bool(self.free)

    def start(self, job: Job) -> Child:
        """Start a process that has a share of its own."""
        share = self.free[0]
        environment = dict(os.environ)
        if share:
            environment[_VISIBLE] = ",".join(share)
        if self.at_once > 1:  # else each of them takes all cores
            environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // self.at_once, 1)))
        child = Child(job, environment, self, share)
        self.free.remove(share)  # not before it has started
        return child

    def close(self) -> None:
        """Nothing to do: the processes have ended."""


class Child:
    """A run in a process of its own."""

    def __init__(self, job: Job, environment: dict[str, str], place: Here, share: tuple[str, ...]) -> None:
        self._place, self._share = place, share
        self._process = job.start(environment)
        self._code: int | None = None

    def code(self) -> int | None:
        """The exit code."""
        if self._code is None and (code := self._process.poll()) is not None:
            self._code = exit_code(code)
            self._place.free.append(self._share)
        return self._code

    def why(self) -> str:
        """Nothing besides what it has printed."""
        return ""

    def stop(self, number: signal.Signals) -> None:
        """Send it the signal, which ends it with a checkpoint."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

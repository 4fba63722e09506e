"""Hand runs over as there is room, watch them, pass signals on: the same whoever trains them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from trainer.many_runs.places import Place, Started
from trainer.many_runs.planned_run import PlannedRun, last_output
from utils.errors import RunError, printable, reason_of
from utils.reporting.progress import progress_bar
from utils.signals import StopSignals

_LOOK = 0.2  # seconds between looks at the runs


@dataclass(frozen=True)
class Failure:
    """A run that ended before its time, and why, in one line."""

    run: PlannedRun
    why: str


@dataclass
class _Watched:
    """A run under way; its part of the log begins at byte `since`."""

    run: PlannedRun
    started: Started
    since: int
    begin: float


class Loop:
    """Trains runs; a failure of one is no concern of the others.

    Args:
        runs: that are not finished.
        finished: how many of those that were asked for were finished before.
        place: that trains them.
        tell: gets a line for each run that has ended.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], finished: int, place: Place, tell: Callable[[str], None] = print
    ) -> None:
        self.place, self.tell = place, tell
        self.ended, self.total = finished, finished + len(runs)
        self.failures: list[Failure] = []
        self._waiting, self._under_way = deque(runs), list[_Watched]()
        self._epochs = {run: run.epochs_done() for run in runs}

    def train(self, signals: StopSignals) -> None:
        """Train all runs; once a signal is received, none is started, and those under way get it."""
        begin, already = time.monotonic(), self.ended
        passed_on = False
        with progress_bar(self._title(), sum(run.config.trainer.epochs for run in self._epochs), "epoch") as bar:
            bar.initial = bar.n = sum(self._epochs.values())
            while self._under_way or (self._waiting and signals.received is None):
                while self._waiting and signals.received is None and self.place.has_room():
                    self._start(self._waiting.popleft())
                if signals.received is not None and not passed_on:
                    passed_on = True
                    for watched in self._under_way:
                        watched.started.stop(signals.received)
                for watched in [each for each in self._under_way if each.started.code() is not None]:
                    self._end(watched, stopped=signals.received is not None)
                    left = (time.monotonic() - begin) / (self.ended - already) * (self.total - self.ended)
                    bar.clear()
                    self.tell(f"{self._told(watched)}{_about(left)}")
                self._show(bar)
                time.sleep(_LOOK)

    def _start(self, run: PlannedRun) -> None:
        try:
            since = run.job.log.stat().st_size if run.job.log.exists() else 0
            self._under_way.append(_Watched(run, self.place.start(run.job), since, time.monotonic()))
        except (OSError, RunError) as error:  # no further process or file, or it is refused
            self.ended += 1
            self.failures.append(Failure(run, f"can't be started: {reason_of(error)}"))

    def _end(self, watched: _Watched, *, stopped: bool) -> None:
        run = watched.run
        self._under_way.remove(watched)
        self.ended += 1
        self._epochs[run] = run.epochs_done()
        if not run.is_finished() and not stopped:
            self.failures.append(Failure(run, _reason(watched)))

    def _told(self, watched: _Watched) -> str:
        run = watched.run
        failed = any(failure.run is run for failure in self.failures)
        how = "failed" if failed else "done" if run.is_finished() else "stopped"
        seconds = round(time.monotonic() - watched.begin)
        return f"run {self.ended} of {self.total} {how} after {timedelta(seconds=seconds)}: {run.label}"

    def _show(self, bar: Any) -> None:
        for watched in self._under_way:
            printed = watched.run.epochs_printed(watched.since)
            self._epochs[watched.run] = max(self._epochs[watched.run], printed)
        bar.set_description(self._title(), refresh=False)
        bar.update(max(sum(self._epochs.values()) - bar.n, 0))

    def _title(self) -> str:
        return f"{self.ended} of {self.total} runs, {len(self._under_way)} under way"


def _about(seconds: float) -> str:
    return f"; about {timedelta(seconds=round(seconds))} left" if seconds >= 1 else ""


def _reason(watched: _Watched) -> str:
    """The error that a run told last, else what its launcher says, else its last line, else its exit code."""
    lines = [
        line for line in last_output(watched.run.job.log, watched.since).decode("utf8", "replace").splitlines() if line
    ]
    errors = [line for line in lines if line.startswith("error: ")]
    told = [*lines[-1:], watched.started.why(), *errors[-1:]]
    return printable(next(filter(None, reversed(told)), f"exit code {watched.started.code()}"))

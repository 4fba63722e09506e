"""What `train.py` does about several runs: check all, skip the finished, train the others, tell what came of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from trainer.config.run_config import RunConfig, run_config
from trainer.many_runs.combinations import Combination
from trainer.many_runs.flags import Asked
from trainer.many_runs.here import Here, shares_of, visible_gpus
from trainer.many_runs.loop import Failure, Loop
from trainer.many_runs.on_ray import OnRay
from trainer.many_runs.on_slurm import OnSlurm
from trainer.many_runs.places import Place
from trainer.many_runs.planned_run import FILES, PlannedRun
from trainer.many_runs.sameness import what_is_trained
from utils.config.parser import ConfigParser
from utils.config.schema_cache import cache_schema
from utils.errors import UserError
from utils.files.locks import take_lock
from utils.signals import RunStopped, StopSignals


def train_several(combinations: Sequence[Combination], asked: Asked, *, log_config: str | None = None) -> int:
    """All of it; returns the exit code: 1 where a run failed.

    Raises:
        UserError: before anything starts: a configuration is wrong, two are the same, or the launcher isn't there.
        RunStopped: a signal has ended it, and the runs have their checkpoints.
    """
    runs = planned(combinations, log_config=log_config)
    place = place_for(asked, runs)
    with StopSignals() as signals, _claimed(runs):
        for run in runs:
            run.freeze()
        left = [run for run in runs if not run.is_finished()]
        if len(left) < len(runs):
            print(f"{len(runs) - len(left)} of {len(runs)} runs are finished already.", flush=True)
        loop = Loop(left, len(runs) - len(left), place, partial(print, flush=True))
        try:
            loop.train(signals)
        finally:
            place.close()
        if signals.received is not None:
            done = sum(run.is_finished() for run in runs)
            told = f"{done} of {len(runs)} runs are finished; continue with: {shlex.join(['python', *sys.argv])}"
            raise RunStopped(signals.received, f"stopped by {signals.received.name}; {told}")
    print("\n".join(outcome(runs, loop.failures)))
    return 1 if loop.failures else 0


def planned(combinations: Sequence[Combination], *, log_config: str | None = None) -> list[PlannedRun]:
    """The runs, their configurations checked.

    Raises:
        UserError: one is wrong, or two would train the same.
    """
    cache_schema(RunConfig)
    runs, labels = [], dict[Hashable, str]()
    for combination in combinations:
        config = run_config(combination.parser)
        combination.parser.config["seed"] = config.seed  # as of a single run
        what = what_is_trained(combination.parser.config)
        if what in labels:
            raise UserError(
                f"the runs {labels[what]!r} and {combination.label!r} are one: nothing that is trained differs"
            )
        labels[what] = combination.label
        runs.append(PlannedRun(combination.label, combination.parser, config, log_config=log_config))
    return runs


def place_for(asked: Asked, runs: Sequence[PlannedRun]) -> Place:
    """Who trains the runs.

    Raises:
        UserError: the launcher isn't there, or has no such option.
    """
    if asked.launcher == "ray":
        cluster = OnRay(asked.options)
        for line in cluster.remarks([run.job for run in runs]):
            print(line, flush=True)
        return cluster
    if asked.launcher == "slurm":
        return OnSlurm(runs[0].frozen.parent / "submitit", asked.options)
    return Here(shares_of(visible_gpus(), each=max(run.job.gpus for run in runs)))


def outcome(runs: Sequence[PlannedRun], failures: Sequence[Failure]) -> list[str]:
    """What is told at the end: where the runs are, how to compare them, and a line for each that failed."""
    lines, folders, checkpoints = [], [], []
    for run in runs:
        if (newest := run.newest()) is not None and run.is_finished():
            lines.append(f"{run.label}: {newest.parent}")
            folders.append(newest.parent)
            checkpoints.append(shlex.quote(str(newest)))
    if checkpoints:
        lines += [
            "Evaluate them: for run in " + " ".join(checkpoints) + '; do python test.py -r "$run"; done',
            f"Compare them: python -m tools.summary {shlex.join(_together(runs[0].parser, folders))}",
        ]
    return lines + [f"failed: {failure.run.label}: {failure.why} (see {failure.run.job.log})" for failure in failures]


def _together(parser: ConfigParser, folders: Sequence[Path]) -> list[str]:
    """What names these folders of runs to another command: the one around them, where there are no others in it."""
    around = parser.runs_folder()
    others = {path for path in around.glob("*/") if path.name != FILES} - set(folders)
    return [str(folder) for folder in folders] if others else [str(around)]


@contextmanager
def _claimed(runs: Sequence[PlannedRun]) -> Iterator[None]:
    """No other command trains these runs meanwhile.

    Raises:
        UserError: one does, or their folder can't be written to.
    """
    with ExitStack() as stack:
        for run in runs:
            lock = run.frozen.with_suffix(".lock")
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{lock.parent}: can't be made: {error.strerror} (trainer.save_dir)") from None
            taken = take_lock(lock)
            if taken is None:
                raise UserError(f"{run.label}: another command is about to train this run ({lock})")
            stack.callback(taken.release)
        yield

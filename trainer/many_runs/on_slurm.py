"""Runs as jobs of SLURM, by submitit, which queues a preempted one again."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.many_runs.job import Job, JobElsewhere
from utils.errors import RunError, UserError, reason_of

_ROOT = str(Path(__file__).resolve().parents[2])
_FLAG = "--launcher slurm"


class OnSlurm:
    """SLURM.

    Args:
        folder: for submitit's files; the nodes see it, too.
        options: of submitit's executor, over those that follow from the runs.
        cluster: "slurm"; submitit has "local" for tests, which is this machine.

    Raises:
        UserError: submitit or SLURM isn't there, or there is no such option.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], *, cluster: str = "slurm") -> None:
        try:
            import submitit  # noqa: PLC0415 - optional
        except ImportError:
            raise UserError(f"{_FLAG} needs submitit, which is not installed: pip install submitit") from None
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError(f"{_FLAG}: there is no sbatch on this machine; is it a login node of the cluster?")
        self._failed = submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedSubmissionError
        self._options = options
        self._executor = submitit.AutoExecutor(folder, cluster=cluster)
        try:
            self._executor.update_parameters(**options)
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise UserError(f"--launcher_option: {reason_of(error)}") from None
        paths = [_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # which jobs inherit: they unpickle what is defined here

    def has_room(self) -> bool:
        """SLURM has a queue."""
        return True

    def start(self, job: Job) -> SlurmJob:
        """Submit a job.

        Raises:
            RunError: SLURM has refused it.
        """
        wanted = {
            "name": job.label.replace(" ", "_"),
            "nodes": 1,
            "tasks_per_node": 1,
            "cpus_per_task": job.workers + 1,
            "gpus_per_node": job.gpus or None,
        }
        self._executor.update_parameters(**{**wanted, **self._options})
        try:
            return SlurmJob(self._executor.submit(JobElsewhere(job)), self._failed)
        except self._failed as error:
            raise RunError(reason_of(error)) from None

    def close(self) -> None:
        """Nothing to do: the jobs have ended."""


class SlurmJob:
    """A run that was submitted."""

    def __init__(self, job: Any, failed: tuple[type[Exception], ...]) -> None:
        self._job, self._failed = job, failed
        self._why = ""
        self._cancelled = False

    def code(self) -> int | None:
        """The exit code of the command; 1 where the job ended otherwise."""
        if not self._job.done():
            return None
        if self._cancelled:  # there is no result, for which submitit would wait
            return 1
        try:
            return int(self._job.result())
        except self._failed:
            self._why = f"job {self._job.job_id} has ended: {self._job.state}"
            return 1

    def why(self) -> str:
        """What SLURM says of a job that ended otherwise."""
        return self._why

    def stop(self, number: signal.Signals) -> None:
        """Cancel the job: SLURM sends a SIGTERM, and after its KillWait a SIGKILL."""
        self._cancelled = True
        self._job.cancel()

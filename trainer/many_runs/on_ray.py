"""Runs as tasks of a Ray cluster, which starts those of a node that has died on another."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.many_runs.job import Job, JobElsewhere
from utils.errors import UserError, nearest, reason_of

_ROOT = str(Path(__file__).resolve().parents[2])
_FLAG = "--launcher ray"
_OF_A_TASK = ("accelerator_type", "max_retries", "memory", "num_cpus", "num_gpus", "resources")
OPTIONS = ("address", *_OF_A_TASK)
"""Names for `--launcher_option`: where the cluster is, and what a run asks its node for."""

_SHORT_WAIT = {"RAY_py_gcs_connect_timeout_s": "10", "RAY_NUM_REDIS_GET_RETRIES": "1"}  # else it is two minutes


class OnRay:
    """Ray.

    Args:
        options: those of `OPTIONS`, over what follows from the runs.

    Raises:
        UserError: Ray or its cluster isn't there, or there is no such option.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        for name, value in _SHORT_WAIT.items():  # read when it is imported
            os.environ.setdefault(name, value)
        try:
            import ray  # noqa: PLC0415 - optional
        except ImportError:
            raise UserError(f"{_FLAG} needs ray, which is not installed: pip install ray") from None
        self._ray = ray
        self._options = dict(options)
        address = str(self._options.pop("address", "auto"))
        self._check()
        if "://" in address or address == "local":
            raise UserError(
                f"--launcher_option address={address}: expected HOST:PORT of a cluster, from one of its nodes, or auto"
            )
        paths = [_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}}  # where a worker finds this module
        try:
            with _nothing_on_stderr():
                ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, runtime_env=environment)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{_FLAG}: no cluster can be reached ({_whole_reason(error)}); start one with: ray start --head, or "
                "say where it is: --launcher_option address=HOST:PORT"
            ) from None

    def _check(self) -> None:
        unknown = [name for name in self._options if name not in _OF_A_TASK]
        if unknown:
            hint = nearest(unknown[0], OPTIONS) or f"; there are: {', '.join(OPTIONS)}"
            raise UserError(f"--launcher_option {unknown[0]}: {_FLAG} has no such option{hint}")
        try:
            self._ray.remote(**self._options or {"num_cpus": 1})(_train)
        except (TypeError, ValueError) as error:
            raise UserError(f"--launcher_option: {reason_of(error)}") from None

    def remarks(self, jobs: Sequence[Job]) -> list[str]:
        """What of that which the runs ask for no node has, a line each."""
        nodes = self._nodes()
        return list(dict.fromkeys(line for job in jobs for line in remarks_on(job, nodes, self._options)))

    def has_room(self) -> bool:
        """Ray has a queue."""
        return True

    def start(self, job: Job) -> RayTask:
        """Submit a task, which is submitted again when its node dies."""
        wanted = {"name": job.label, "max_retries": -1, **demand(job, self._nodes(), self._options)}
        task = self._ray.remote(**wanted)(_train)
        return RayTask(self._ray, task.remote(JobElsewhere(job), str(Path.cwd())))

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


class RayTask:
    """A run that was submitted.

    Args:
        ray: the module.
        result: the future of the command's exit code.
    """

    def __init__(self, ray: Any, result: Any) -> None:
        self._ray, self._result = ray, result
        self._code: int | None = None
        self._why = ""

    def code(self) -> int | None:
        """The exit code of the command; 1 where the task ended otherwise."""
        if self._code is None and self._ray.wait([self._result], timeout=0)[0]:
            try:
                self._code = int(self._ray.get(self._result))
            except self._ray.exceptions.RayError as error:
                self._code, self._why = 1, _told(error)
        return self._code

    def why(self) -> str:
        """What Ray says of a task that ended otherwise."""
        return self._why

    def stop(self, number: signal.Signals) -> None:
        """Cancel the task: an interruption where it runs, which ends the command with a checkpoint."""
        self._ray.cancel(self._result)


def demand(job: Job, nodes: Sequence[Mapping[str, float]], options: Mapping[str, Any]) -> dict[str, Any]:
    """What a run asks its node for: as many GPUs and cores as it wants, or as there are on one node.

    Where no node has a GPU, a run is trained on cores, as it would be on one machine.

    Args:
        job: the run.
        nodes: resources of each node, by Ray's names for them.
        options: what was asked for in so many words; it stands whatever nodes there are.

    Returns:
        options of a task.
    """
    gpus = min(job.gpus, max((int(node.get("GPU", 0)) for node in nodes), default=0))
    cores = max((int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) >= gpus), default=0)
    return {"num_cpus": max(min(job.workers + 1, cores), 1), "num_gpus": gpus, **options}


def remarks_on(job: Job, nodes: Sequence[Mapping[str, float]], options: Mapping[str, Any]) -> list[str]:
    """What of that which a run wants, or asks for, no node has; the arguments are those of `demand`."""
    wants = {"num_cpus": job.workers + 1, "num_gpus": job.gpus, **options}
    asks = demand(job, nodes, options)
    lines = []
    if less := [name for name in wants if asks[name] != wants[name]]:
        lines.append(
            f"No node of the cluster has {_in_words(wants, less)}: each run asks for {_in_words(asks, less)} "
            f"(to wait for a node that has: --launcher_option {less[-1]}={wants[less[-1]]})."
        )
    needs = {
        "CPU": asks["num_cpus"],
        "GPU": asks["num_gpus"],
        "memory": asks.get("memory"),
        **(asks.get("resources") or {}),
    }
    if not any(all(node.get(name, 0) >= (amount or 0) for name, amount in needs.items()) for node in nodes):
        names = [name for name in ("num_cpus", "num_gpus", "memory", "resources") if asks.get(name)]
        lines.append(f"No node of the cluster has {_in_words(asks, names)}: the runs wait for one that has.")
    return lines


def _in_words(amounts: Mapping[str, Any], names: Sequence[str]) -> str:
    return " and ".join(f"{name}={amounts[name]}" for name in names)


def _train(job: JobElsewhere, folder: str) -> int:
    """Of a task: the paths in a run are relative to the folder in which the command was called."""
    os.chdir(folder)
    return job()


def _whole_reason(error: Exception) -> str:
    """Of a failure to connect, and the last line of what it has come from, which holds a stack of lines."""
    before = str(error.__context__ or "").strip().splitlines()
    return " ".join([*str(error).split(), *(f"- {line}" for line in before[-1:])])


def _told(error: Exception) -> str:
    """An error in a task carries its cause; what befell a worker or a node is an error of Ray's own."""
    cause = getattr(error, "cause", None)
    what = f"{type(cause).__name__}: {cause}" if cause is not None else f"{type(error).__name__}: {error}"
    return f"its task has ended: {' '.join(what.split())}"


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """While connecting: Ray's functions in C++ write warnings there, of what an exception says as well."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

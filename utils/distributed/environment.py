"""What is known of a process before PyTorch is imported: which of a run's processes it is, and which GPUs it may see.

PyTorch's launchers (torchrun, or this project's own start of it, `utils.distributed.launch`) set the variables that are
read here; without them a process is alone.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from utils.errors import EarlyEnd, UserError

_PATIENCE = 30.0  # seconds
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")


@dataclass(frozen=True, kw_only=True)
class LaunchEnvironment:
    """The processes that work on one run, as a launcher describes them to one of them; by default it is alone.

    Args:
        rank: this process among all; 0 writes files and talks.
        size: processes.
        local_rank: this process among those of its machine, and hence which GPU is its own.
        local_size: processes on this machine.
        restarts: how often the launcher has had to start the processes again.
        launch: what tells this start of torchrun from others; "" where nobody launched.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0
    launch: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0


def launch_environment() -> LaunchEnvironment:
    """The processes as the launcher's variables describe them, before anybody has been talked to.

    Raises:
        UserError: the variables are no numbers, or contradict one another.
    """
    variables = os.environ
    if "RANK" not in variables or "WORLD_SIZE" not in variables:
        return LaunchEnvironment()
    try:
        rank, size, local_rank, restarts = (int(variables.get(name, 0)) for name in (*_VARIABLES[:3], _VARIABLES[4]))
        local_size = int(variables.get("LOCAL_WORLD_SIZE", local_rank + 1))
    except ValueError as error:
        raise UserError(f"{', '.join(_VARIABLES)}: the launcher set something that is no number ({error})") from None
    if not 0 <= rank < size:
        raise UserError(f"RANK is {rank} and WORLD_SIZE {size}: expected 0 ≤ RANK < WORLD_SIZE")
    if not 0 <= local_rank < local_size:
        raise UserError(
            f"LOCAL_RANK is {local_rank} and LOCAL_WORLD_SIZE {local_size}: expected 0 ≤ LOCAL_RANK < LOCAL_WORLD_SIZE"
        )
    return LaunchEnvironment(
        rank=rank,
        size=size,
        local_rank=local_rank,
        local_size=local_size,
        restarts=restarts,
        launch=_launch(variables.get("TORCHELASTIC_RUN_ID", "none")),
    )


def set_visible_gpus(visible: str | None) -> None:
    """Restrict this process, and those it starts, to some GPUs; must come before CUDA is first used.

    Args:
        visible: GPU indices, as in CUDA_VISIBLE_DEVICES; None: all that there are.

    Raises:
        UserError: these are no indices.
    """
    if visible is None:
        return
    if not all(re.fullmatch(r"\s*[0-9]+\s*", part) for part in visible.split(",")):
        raise UserError(f"-d {visible}: expected GPU indices such as 0 or 0,1")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible


@contextmanager
def report_once(environment: LaunchEnvironment) -> Iterator[None]:
    """Around what every process finds out for itself (a wrong configuration): one of each machine tells it.

    The others wait: as soon as one process has ended, the launcher ends all, and whoever tells would never come to it.
    One that still lives after half a minute was alone in finding something, and tells it.
    """
    try:
        yield
    except EarlyEnd:
        if environment.local_rank != 0:
            time.sleep(_PATIENCE)
        raise


class Silently(EarlyEnd):
    """The end of a process whose reason another process of the run tells."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


def _launch(run_id: str) -> str:
    """What stays the same when torchrun starts processes again, and is another where torchrun was started again."""
    if run_id != "none":
        return run_id
    launcher = os.getppid()
    try:
        begun = Path(f"/proc/{launcher}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        begun = ""
    return f"{platform.node()}:{launcher}:{begun}"

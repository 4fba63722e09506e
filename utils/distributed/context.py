"""The processes of a run: how they meet, and what they ask one another.

For a process that is alone everything here does nothing. Numbers and plain data go through a group of their own on the
CPU (gloo), whatever the devices exchange gradients by.
"""

from __future__ import annotations

import atexit
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from utils.distributed.environment import LaunchEnvironment, Silently
from utils.errors import EXIT_INTERRUPTED, EarlyEnd, RunError
from utils.signals import end_workers
from utils.standard_streams import EXIT_UNREAD, flush_output

_PATIENCE = timedelta(minutes=30)  # rank 0 may be downloading or reading a data set while the others wait
_LOST = re.compile(r"[Cc]onnection (closed|reset|refused)( by \w+)?|[Bb]roken pipe|[Tt]imed out|NCCL \w+|gloo")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DistributedContext(LaunchEnvironment):
    """The processes that work on one run, as one of them sees it; by default it is alone.

    Args:
        group: for numbers and plain data; None for a process that is alone.
    """

    group: dist.ProcessGroup | None = None

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes of a tensor on the CPU, of the same shape everywhere."""
        if self.group is None:
            return values
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total

    def gather(self, value: T) -> list[T]:
        """Plain data of every process, by rank, to every process."""
        if self.group is None:
            return [value]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value, group=self.group)
        return gathered

    def from_main(self, value: T | None) -> T:
        """Plain data of rank 0, to every process; what the others give is ignored."""
        if self.group is None:
            return cast(T, value)
        holder = [value]
        dist.broadcast_object_list(holder, src=0, group=self.group)
        return cast(T, holder[0])

    def send_to_main(self, values: Tensor) -> None:
        """Hand a tensor on the CPU to rank 0, which calls `receive`."""
        dist.send(values.contiguous(), dst=0, group=self.group)

    def receive(self, values: Tensor, source: int) -> None:
        """Fill a contiguous tensor on the CPU with what process `source` sends."""
        dist.recv(values, src=source, group=self.group)

    def alone(self) -> dist.ProcessGroup:
        """A group of this process alone."""
        return cast(dist.ProcessGroup, dist.new_group([self.rank], backend="gloo", use_local_synchronization=True))

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors on the device by those of rank 0."""
        if self.group is not None:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Around something that only one process must do first (downloading), and whose failure all would report.

        Rank 0 runs the block, then the others do; where it fails in a way to be told, they end without a word.
        """
        if not self.is_main:
            code = self.from_main(0)
            if code:
                raise Silently(code)
            yield
            return
        code = 1
        try:
            yield
            code = 0
        except EarlyEnd as error:
            code = error.exit_code
            raise
        finally:
            self.from_main(code)


class Agreement:
    """What the processes have been asked for, known to all of them one call later, so that none ever waits.

    A signal may reach one process only, and the others must stop after the same step.
    """

    def __init__(self, distributed: DistributedContext) -> None:
        self._world = distributed
        self._pending: tuple[dist.Work, Tensor] | None = None

    def __call__(self, wish: Callable[[], int]) -> int:
        """The greatest wish that any process had at the call before; all must call equally often.

        Once something is agreed on nobody is asked: the wish that it fulfils would be heard twice.
        """
        if self._world.group is None:
            return wish()
        agreed = 0
        if self._pending is not None:
            work, wishes = self._pending
            work.wait()
            agreed = int(wishes)
        wishes = torch.tensor(0 if agreed else wish())
        work = dist.all_reduce(wishes, op=dist.ReduceOp.MAX, group=self._world.group, async_op=True)
        self._pending = (work, wishes)
        return agreed


@contextmanager
def process_group(described: LaunchEnvironment, device: torch.device) -> Iterator[DistributedContext]:
    """Meet the other processes, and leave them in an orderly way; a process that is alone stays so.

    Args:
        described: see `utils.distributed.environment.launch_environment`.
        device: this process's own; gradients are exchanged by NCCL between GPUs, by gloo between CPUs.

    Raises:
        RunError: the others can't be reached, or one is lost while they work.
    """
    if "RANK" not in os.environ:
        yield DistributedContext(**vars(described))
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    try:
        store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
        dist.init_process_group(
            backend,
            store=dist.PrefixStore(_common_token(store, described), store),
            rank=described.rank,
            world_size=described.size,
            timeout=_PATIENCE,
            device_id=device if device.type == "cuda" else None,
        )
        group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError, TimeoutError) as error:
        raise RunError(f"the other processes can't be reached through {address}: {_first_line(error)}") from None
    distributed = DistributedContext(**{**vars(described), "group": group})
    with leaving(backend):
        try:
            yield distributed
        except RuntimeError as error:
            how = _LOST.search(str(error))
            if how is None:
                raise
            if not distributed.is_main:
                raise Silently(RunError.exit_code) from None
            raise RunError(
                f"another process of this run died ({how[0]}); see its own error message above; resume with -r and the "
                "newest checkpoint"
            ) from None


@contextmanager
def leaving(backend: str) -> Iterator[None]:
    """Around what processes do together: they part in an orderly way at its end.

    After an error this process may be alone with it. NCCL would wait, here or when Python ends, for what the others
    never come to; so the process tells the error and ends at once. gloo waits for nobody.
    """
    try:
        yield
    except BaseException as error:
        if backend == "nccl":
            atexit.register(_end_at_once, _exit_code(error))
        else:
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _exit_code(error: BaseException) -> int:
    """With which a script ends after an error, see `utils.errors.run_main`."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return EXIT_UNREAD
    code = error.code or 0 if isinstance(error, SystemExit) else getattr(error, "exit_code", EarlyEnd.exit_code)
    return code if isinstance(code, int) else EarlyEnd.exit_code


def _end_at_once(code: int) -> None:
    """As Python would end, but that nothing is waited for."""
    try:
        end_workers()
        flush_output()
    finally:
        os._exit(code)


def _common_token(store: dist.Store, distributed: LaunchEnvironment) -> str:
    """A name for this meeting of the processes, the same for all.

    torchrun's store outlives processes that it starts again, and in it lie the addresses of the dead: whoever read
    one would wait for nobody. The restarts can't be counted: each machine counts its own. So rank 0 clears away what
    old processes have said, and answers each new one by the name that it has given itself.
    """
    if distributed.is_main:
        token = uuid.uuid4().hex
        greetings = [f"hello/{rank}" for rank in range(1, distributed.size)]
        for greeting in greetings:
            store.delete_key(greeting)
        for greeting in greetings:
            store.set(f"answer/{store.get(greeting).decode()}", token)
        return token
    own_name = uuid.uuid4().hex
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    while True:
        store.set(f"hello/{distributed.rank}", own_name)  # again and again: rank 0 may have cleared it away
        if store.check([f"answer/{own_name}"]):
            return store.get(f"answer/{own_name}").decode()
        if time.monotonic() > deadline:
            raise TimeoutError("rank 0 does not answer")
        time.sleep(0.05)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

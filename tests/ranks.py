"""Functions run in several processes at once, as torchrun would start them, and what they return."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from utils.distributed.context import DistributedContext, process_group
from utils.distributed.environment import launch_environment

CPU = torch.device("cpu")
PATIENCE = 120.0  # seconds, on a busy machine

_context = multiprocessing.get_context("forkserver")  # clean processes that needn't import torch each
_context.set_forkserver_preload(["tests.ranks", "tests.preloaded"])


def in_processes(function: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
    """What `function(world, *arguments)` returns in each of `size` processes, by rank.

    An exception is returned in its place; a process that ends without a word is a None.
    """
    port = _free_port()
    pipes, processes = [], []
    for rank in range(size):
        receiver, sender = _context.Pipe(duplex=False)
        process = _context.Process(target=_rank, args=(sender, rank, size, port, function, arguments), daemon=True)
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    try:
        return [_answer(pipe) for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _answer(pipe: Connection) -> Any:
    if not wait([pipe], PATIENCE):
        raise TimeoutError("a process does not answer")
    try:
        return pickle.loads(pipe.recv_bytes())  # by value: multiprocessing's own way shares tensors' memory
    except EOFError:
        return None


def _rank(
    pipe: Connection, rank: int, size: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    os.environ.update(dict(zip(names, map(str, (rank, rank, size, size, port)), strict=True)), MASTER_ADDR="127.0.0.1")
    try:
        answer = _joined(function, arguments)
    except Exception as error:
        answer = error
    pipe.send_bytes(pickle.dumps(answer))


def _joined(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with process_group(launch_environment(), CPU) as distributed:
        return function(distributed, *arguments)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


__all__ = ["CPU", "DistributedContext", "in_processes"]

"""Which device a run uses."""

from __future__ import annotations

import logging
import os

import torch

from utils.distributed.context import DistributedContext
from utils.errors import UserError

logger = logging.getLogger(__name__)


def set_visible_gpus(visible: str | None) -> None:
    """Restrict this process, and those it starts, to some GPUs; must come before CUDA is first used.

    Args:
        visible: GPU indices, as in CUDA_VISIBLE_DEVICES; None: all that there are.

    Raises:
        UserError: these are no indices.
    """
    if visible is None:
        return
    if not all(part.strip().isdigit() for part in visible.split(",")):
        raise UserError(f"-d {visible}: expected GPU indices such as 0 or 0,1")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible


def choose_device(n_gpu: int, distributed: DistributedContext) -> torch.device:
    """The device for a process: a GPU where one is wanted and there, else the CPU, which is never an error.

    Args:
        n_gpu: GPUs that the configuration asks for; 0: the CPU.
        distributed: the processes; each of a machine has a GPU of its own.

    Raises:
        UserError: there are more processes on this machine than GPUs.
    """
    if n_gpu == 0:
        return torch.device("cpu")
    present = torch.cuda.device_count()
    if not present:
        if distributed.is_main:
            logger.info("No GPU found; using the CPU.")
        return torch.device("cpu")
    if distributed.local_size > present:
        raise UserError(
            f"{distributed.local_size} processes but only {present} GPU{'s' * (present > 1)} on this machine: start "
            f"{present} process{'es' * (present > 1)} (torchrun --nproc_per_node={present}), or set n_gpu=0 to train "
            "on the CPU"
        )
    torch.cuda.set_device(distributed.local_rank)
    return torch.device("cuda", distributed.local_rank)

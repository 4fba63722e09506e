"""Which device a run uses."""

from __future__ import annotations

import logging

import torch

from utils.distributed.environment import LaunchEnvironment
from utils.errors import UserError

logger = logging.getLogger(__name__)


def choose_device(n_gpu: int, distributed: LaunchEnvironment) -> torch.device:
    """The device for a process: a GPU where one is wanted and there, else the CPU, which is never an error.

    On a GPU convolutions are told to add in the same order each time, in this whole process: runs are repeatable.

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
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda", distributed.local_rank)

"""Which device a run uses."""

from __future__ import annotations

import logging
import os

import torch

from utils.errors import UserError

logger = logging.getLogger(__name__)


def choose_device(n_gpu: int, visible: str | None = None) -> torch.device:
    """The device for a run: a GPU where one is wanted and there, else the CPU, which is never an error.

    Args:
        n_gpu: GPUs that the configuration asks for; 0: the CPU.
        visible: GPU indices, as in CUDA_VISIBLE_DEVICES; must come before CUDA is first used.
    """
    if visible is not None:
        if not all(part.strip().isdigit() for part in visible.split(",")):
            raise UserError(f"-d {visible}: expected GPU indices such as 0 or 0,1")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    if n_gpu == 0:
        return torch.device("cpu")
    present = torch.cuda.device_count()
    if not present:
        logger.info("No GPU at hand: this runs on the CPU.")
        return torch.device("cpu")
    if n_gpu > 1:
        logger.info("n_gpu is %d; one GPU is used: the batch has to fit on it.", n_gpu)
    return torch.device("cuda", 0)

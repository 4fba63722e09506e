"""How long a training will take: measured by a few steps on made-up pixels, before it begins.

What is measured: a network like the run's, and what reading an image took when the folder was looked at.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor

from data_loader.datasets.file_set import FileSet
from data_loader.transforms.crops import RandomResizedCrop
from trainer.build import build_model
from trainer.config.run_config import RunConfig

_STEPS = 3  # the first one, which is slower, counts only where it takes long by itself
_LONG = 5.0  # seconds
_IMAGES_READ = 8


def seconds_of_step(config: RunConfig, *, images: int, side: int, device: torch.device) -> float:
    """Wall-clock seconds of one update of the run's network.

    Args:
        config: of the run.
        images: in a batch on this device.
        side: of an image, pixels.
        device: to train on.
    """
    network = build_model(config, device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9)  # any one touches each weight
    batch = torch.rand(max(images, 2), 3, side, side, device=device)  # BatchNorm knows no batch of one
    seconds = math.inf
    for _ in range(_STEPS):
        begun = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss: Tensor = network.expert_logits(batch).float().logsumexp(dim=-1).mean()  # [B, E, C] → one number
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = min(seconds, time.perf_counter() - begun)
        if seconds > _LONG:
            break
    return seconds


def reduced_share(images: FileSet, *, side: int) -> float:
    """What part of the seconds of reading whole images to train on remains with reduced decoding, by a few of them.

    Args:
        images: to train on.
        side: of the network's input, pixels.
    """
    ids = np.zeros((min(len(images), _IMAGES_READ), 3), np.int64)
    ids[:, 1] = np.linspace(0, len(images) - 1, len(ids))
    seconds = []
    for reduced in (False, True):
        crop = RandomResizedCrop(0, side)
        read = images.for_training(crop, seed=0, on_bad_image="skip", reduced_decoding=reduced)
        read.read(ids[:1])
        begun = time.perf_counter()
        read.read(ids)
        seconds.append(time.perf_counter() - begun)
    whole, of_parts = seconds
    return min(of_parts / whole, 1.0)


def seconds_of_epoch(
    *, step: float, read: float, read_trained: float, batch: int, trained: int, validated: int, workers: int
) -> float:
    """Seconds of an epoch with its validation.

    Args:
        step: seconds of an update.
        read: seconds of reading an image whole.
        read_trained: seconds of reading an image to train on.
        batch: images of an update.
        trained: training images.
        validated: validation images.
        workers: processes that read while the network computes; 0: it waits for its images.
    """
    # a forward pass alone is a third of an update, which goes backward through the weights and the activations, too
    computing = step * (math.ceil(trained / batch) + validated / batch / 3)
    reading = read_trained * trained + read * validated
    return max(computing, reading) if workers else computing + reading


def in_words(seconds: float) -> str:
    """`about 40 seconds`, `about 3 minutes`, `about 2 hours`: no finer than it is known."""
    if seconds < 90:
        return f"about {max(10 * round(seconds / 10), 10)} seconds"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {round(seconds / 3600)} hours"

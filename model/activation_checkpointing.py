"""Activation checkpointing: keep the input of each residual block alone, and compute the block again when the backward
pass needs what lies within (Chen et al., arXiv 1604.06174). It costs about a third more time: a second forward pass.

Loss, gradients and BatchNorm's running statistics are those of a pass without it. Blocks must draw no random numbers,
since the generators' states are not kept for the second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def run_stage(stage: nn.Module, x: Tensor, *, checkpoints: bool) -> Tensor:
    """A stage's output [B, out, H', W'] for x [B, in, H, W].

    Args:
        stage: an `nn.Sequential` of blocks.
        x: its input.
        checkpoints: keep only each block's input for the backward pass. The blocks then run one by one, so that hooks
            on the stage itself are not called, and those on a block are called a second time in the backward pass.
    """
    if not checkpoints:
        return stage(x)
    for block in cast(nn.Sequential, stage):
        # torch.compile admits no contexts of ours, and needs none: it never repeats what changes a buffer
        contexts: dict[str, Any] = {} if torch.compiler.is_compiling() else {"context_fn": partial(_contexts, block)}
        # autocast is entered again by `checkpoint` itself
        x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, **contexts)
    return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Around the forward pass: nothing. Around the second one: no BatchNorm learns from the same batch again."""
    return nullcontext(), _running_statistics_untouched(block)


@contextmanager
def _running_statistics_untouched(block: nn.Module) -> Iterator[None]:
    """Give the BatchNorms of a block buffers to throw away, for a while.

    Turning off `track_running_stats` would not do: autograd saves the running statistics along with the rest, though a
    batch that is normalised by its own never uses them, and `checkpoint` insists on the same tensors the second time.
    """
    # BatchNorms in evaluation mode (frozen ones) read their buffers, and leave them as they are
    learning = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    statistics = [dict(module.named_buffers(recurse=False)) for module in learning]
    try:
        for module, buffers in zip(learning, statistics, strict=True):
            for name, buffer in buffers.items():
                setattr(module, name, torch.zeros_like(buffer))
        yield
    finally:  # `checkpoint` leaves a block by an exception, as soon as nothing more is needed
        for module, buffers in zip(learning, statistics, strict=True):
            for name, buffer in buffers.items():
                setattr(module, name, buffer)

"""Averaged weights: a second network, the mean of the trained one along its way, around any other method.

EMA: exponential moving average after each update (Polyak & Juditsky 1992; with warm-up as in Tarvainen & Valpola,
NeurIPS 2017). SWA: mean of epoch ends (Izmailov et al., *Averaging Weights Leads to Wider Optima*, UAI 2018).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from base import Stateful, Step
from model.experts import ExpertModel
from model.trainable import frozen_batchnorms
from trainer.config.components import METHOD
from trainer.methods.base import Method, WrappedMethod
from utils.config.ranges import Fraction, PositiveInt, Range
from utils.device_copies import copy_all
from utils.distributed.context import DistributedContext

__all__ = ["EMA", "SWA"]

InnerMethod = Annotated[Method, METHOD]
BatchNormStatistics = Literal["average", "reestimate"]


class Count:
    """Of how many networks a mean is one.

    Attributes:
        value: the networks.
        epoch: the last epoch that counted.
    """

    def __init__(self) -> None:
        self.value = 0
        self.epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """Both numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` was called."""
        self.value, self.epoch = int(state["value"]), int(state["epoch"])


class Averaged(WrappedMethod):
    """A method whose network is evaluated twice: as it is ("raw"), and the mean of its weights ("averaged").

    Checkpoints hold the mean as `averaged_state_dict`, a state dict like the raw one.

    Args:
        method: what is trained.
        distributed: the processes that train.
    """

    weights = ("raw", "averaged")

    def __init__(self, method: Method, distributed: DistributedContext) -> None:
        super().__init__(method)
        self.distributed = distributed
        self.averaged: ExpertModel = copy.deepcopy(method.network).requires_grad_(False)
        self.count = Count()

    def networks(self) -> dict[str, ExpertModel]:
        """The inner method's, and the mean."""
        return {**super().networks(), "averaged": self.averaged}

    def checkpoint_parts(self) -> dict[str, Stateful]:
        """The inner method's, the mean, and of how many it is one."""
        return {**super().checkpoint_parts(), "averaged_state_dict": self.averaged, "averaging": self.count}

    @torch.no_grad()
    def move(self, share: float) -> None:
        """Move the mean, BatchNorm's statistics included, by `share` of the way towards the network."""
        pairs = (
            *zip(self.averaged.parameters(), self.network.parameters(), strict=True),
            *zip(self.averaged.buffers(), self.network.buffers(), strict=True),
        )
        moved = [(mean, current.to(mean.dtype)) for mean, current in pairs if mean.is_floating_point()]
        counts = [pair for pair in pairs if not pair[0].is_floating_point()]  # batches that BatchNorm has seen
        # all of them at once: one by one they would be several hundred pieces of work for a GPU
        torch._foreach_lerp_([mean for mean, _ in moved], [current for _, current in moved], share)
        copy_all([mean for mean, _ in counts], [current for _, current in counts])

    def reestimate_statistics(self, images: Callable[[], Iterable[Tensor]]) -> None:
        """Take the mean's BatchNorm statistics anew, but for those that stay as they are in the trained network."""
        frozen, modules = frozen_batchnorms(self.network), self.averaged.named_modules()
        layers = [module for name, module in modules if isinstance(module, _BatchNorm) and name not in frozen]
        if layers:
            reestimate_statistics(self.averaged, layers, images(), self.distributed)


class EMA(Averaged):
    """Exponential moving average: after update t (from 0), θ̄ ← d_t·θ̄ + (1 − d_t)·θ, d_t = min(decay, (1 + t)/(10 + t)).

    Args:
        method: what is trained.
        distributed: the processes that train.
        decay: d, in [0, 1].
        batchnorm: where the mean's BatchNorm statistics come from: "average" averages them as the weights;
            "reestimate" takes them anew from one pass over the training images, unmixed, after each epoch.
    """

    def __init__(
        self,
        method: InnerMethod,
        distributed: DistributedContext,
        decay: Fraction = 0.999,
        batchnorm: BatchNormStatistics = "average",
    ) -> None:
        super().__init__(method, distributed)
        self.decay = decay
        self.batchnorm = batchnorm

    def after_update(self, step: Step) -> None:
        """One step of the average."""
        super().after_update(step)
        t = self.count.value
        self.move(1 - min(self.decay, (1 + t) / (10 + t)))
        self.count.value += 1

    def finish_epoch(self, epoch: int, images: Callable[[], Iterable[Tensor]]) -> None:
        """BatchNorm's statistics anew, if they are to be."""
        super().finish_epoch(epoch, images)
        if self.batchnorm == "reestimate":
            self.reestimate_statistics(images)


class SWA(Averaged):
    """Mean of the weights at the ends of epochs, from `start` of the epochs on; best with a constant rate from there.

    Until then the mean is the network itself. BatchNorm's statistics are taken anew from one pass over the training
    images, unmixed, after each epoch that counts.

    Args:
        method: what is trained.
        distributed: the processes that train.
        epochs: of the run.
        start: part of the epochs that is over before the first one counts, in [0, 1).
        every: count every so many-th epoch.
    """

    def __init__(
        self,
        method: InnerMethod,
        distributed: DistributedContext,
        epochs: int,
        start: Annotated[float, Range(low=0, high=0.99)] = 0.6,
        every: PositiveInt = 1,
    ) -> None:
        super().__init__(method, distributed)
        self.first_epoch = math.floor(start * epochs) + 1
        self.every = every

    def finish_epoch(self, epoch: int, images: Callable[[], Iterable[Tensor]]) -> None:
        """Count the epoch, unless it has been counted before the run was interrupted."""
        super().finish_epoch(epoch, images)
        counted = self.count.epoch >= epoch  # before the run was interrupted
        if epoch <= self.first_epoch and not counted:
            self.count.value = 0  # a continued run may count from a later epoch on than the one before it
        if epoch < self.first_epoch:
            self.move(1.0)
        elif (epoch - self.first_epoch) % self.every == 0 and not counted:
            self.count.value, self.count.epoch = self.count.value + 1, epoch
            self.move(1 / self.count.value)
            self.reestimate_statistics(images)


@torch.no_grad()
def reestimate_statistics(
    network: ExpertModel,
    layers: Sequence[_BatchNorm],
    images: Iterable[Tensor],
    distributed: DistributedContext | None = None,
) -> None:
    """Take the statistics of some of a network's BatchNorm layers anew.

    Args:
        network: left in evaluation mode.
        layers: of the network.
        images: batches [B, 3, H, W] of this process; the statistics are the plain means over all batches.
        distributed: the processes that have images.
    """
    network.eval()
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    for number, batch in enumerate(images, start=1):
        for layer in layers:
            layer.momentum = 1 / number  # a plain mean; PyTorch's own would ask the device for the number
        network(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
        for statistic in (layer.running_mean, layer.running_var):
            if distributed is not None and statistic is not None:
                statistic.copy_(distributed.sum(statistic.cpu()) / distributed.size)

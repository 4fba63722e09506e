"""Small methods of kinds that the project has none of yet, each as whoever adds one would write it.

`B` batch, `C` classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import trainer.methods
from base import Batch, Stateful, Step
from model.experts import ExpertModel, expert_logits_of
from model.losses import CrossEntropyLoss
from model.targets import MixedTargets
from model.trainable import freeze_except
from trainer.methods.base import StepOutput
from trainer.methods.supervised import Supervised
from utils.config.ranges import Fraction
from utils.distributed.context import DistributedContext


def logits_of(network: ExpertModel, images: Tensor) -> Tensor:
    """The ensemble's logits [B, C] of images [B, 3, H, W]."""
    return expert_logits_of(network(images)).mean(dim=1)  # [B, E, C] → [B, C]


class FixMatch(Supervised):
    """Two streams, two views, pseudo-labels where the network is sure."""

    loaders = ("train", "unlabelled")
    views = ("weak", "strong")

    def __init__(self, threshold: Fraction = 0.95, **supervised: Any) -> None:
        super().__init__(**supervised)
        self.threshold = threshold

    def forward(self, batches: Mapping[str, Batch], step: Step) -> StepOutput:
        labelled, unlabelled = batches["train"], batches["unlabelled"]
        loss = F.cross_entropy(logits_of(self.network, labelled.view("weak")), labelled.targets)
        with torch.no_grad():
            sureness, pseudo_labels = logits_of(self.network, unlabelled.view("weak")).softmax(dim=1).max(dim=1)
        losses = F.cross_entropy(logits_of(self.network, unlabelled.view("strong")), pseudo_labels, reduction="none")
        sure = sureness > self.threshold  # [B]
        logs = {"loss": loss.detach(), "sure": sure.float().mean()}
        return StepOutput(loss, logs, {"unlabelled": (losses * sure).mean()})


class Distilled(Supervised):
    """A second network, which stays as it is, is agreed with."""

    def __init__(self, seed: int, **supervised: Any) -> None:
        super().__init__(seed=seed, **supervised)
        self.teacher = copy.deepcopy(self.network).eval().requires_grad_(False)
        random = torch.Generator().manual_seed(seed)
        for weight in self.teacher.parameters():
            weight.add_(torch.randn(weight.shape, generator=random).to(weight), alpha=0.1)

    def forward(self, batches: Mapping[str, Batch], step: Step) -> StepOutput:
        output = super().forward(batches, step)
        images = batches["train"].view("train")
        ours, theirs = (logits_of(network, images).log_softmax(dim=1) for network in (self.network, self.teacher))
        divergence = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return output._replace(loss=output.loss + divergence)

    def checkpoint_parts(self) -> dict[str, Stateful]:
        return {**super().checkpoint_parts(), "teacher": self.teacher}


class ReweightedCrossEntropy(CrossEntropyLoss):
    """Rare classes count more: 1/π, with mean 1 over the images."""

    def __init__(self, prior: np.ndarray) -> None:
        super().__init__()
        self.weights = torch.from_numpy(1 / prior / len(prior)).float()

    def expert_losses(self, expert_logits: Tensor, targets: MixedTargets) -> Tensor:
        return -targets.pick(self.weights * expert_logits.log_softmax(dim=-1))


class DeferredReweighting(Supervised):
    """Plain first, re-weighted from epoch 3 on."""

    def start_epoch(self, epoch: int) -> None:
        super().start_epoch(epoch)
        if epoch >= 3:
            self.criterion = ReweightedCrossEntropy(self.training_prior)


class FreezesTrunk(Supervised):
    """From epoch 2 on the classifiers alone are trained."""

    def start_epoch(self, epoch: int) -> None:
        if epoch >= 2:
            freeze_except(self.network, ["backbone.linear*"])
        super().start_epoch(epoch)


class SeesStrongViews(Supervised):
    """One view, which is not the configuration's own."""

    views = ("strong",)

    def forward(self, batches: Mapping[str, Batch], step: Step) -> StepOutput:
        batch = batches["train"]
        loss = F.cross_entropy(logits_of(self.network, batch.view("strong")), batch.targets)
        return StepOutput(loss, {"loss": loss.detach()})


class RunningPrior(nn.Module):
    """A class prior [C] that follows the predictions."""

    prior: Tensor
    predicted: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("prior", torch.full((num_classes,), 1 / num_classes, dtype=torch.float64))
        self.register_buffer("predicted", torch.zeros(num_classes, dtype=torch.float64), persistent=False)


class AdjustsByPredictions(Supervised):
    """Logits are adjusted by what has been predicted so far, in all processes."""

    def __init__(self, num_classes: int, distributed: DistributedContext, **supervised: Any) -> None:
        super().__init__(**supervised)
        self.distributed = distributed
        self.running = RunningPrior(num_classes)
        self.step = Step(0, 0)

    def forward(self, batches: Mapping[str, Batch], step: Step) -> StepOutput:
        if step != self.step:  # what a skipped step has left
            self.step = step
            self.running.predicted.zero_()
        batch = batches["train"]
        logits = logits_of(self.network, batch.view("train"))  # [B, C]
        self.running.predicted += logits.detach().double().softmax(dim=1).mean(dim=0) * batch.shard.num_counted
        loss = F.cross_entropy(logits + self.running.prior.log().to(logits), batch.targets)
        return StepOutput(loss, {"loss": loss.detach()})

    def after_update(self, step: Step) -> None:
        predicted = self.distributed.sum(self.running.predicted.cpu())
        self.running.prior.lerp_(predicted / predicted.sum(), 0.1)
        self.running.predicted.zero_()

    def checkpoint_parts(self) -> dict[str, Stateful]:
        return {**super().checkpoint_parts(), "running_prior": self.running}


TOYS = (FixMatch, Distilled, DeferredReweighting, FreezesTrunk, SeesStrongViews, AdjustsByPredictions)


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let configurations name the toys, as a file in `trainer/methods/` would."""
    for toy in TOYS:
        monkeypatch.setattr(trainer.methods, toy.__name__, toy, raising=False)
    names = [*trainer.methods.__all__, *(toy.__name__ for toy in TOYS)]
    monkeypatch.setattr(trainer.methods, "__all__", names)

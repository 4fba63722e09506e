"""The published method: experts trained on labelled images, mixed or not.

One image's trip: `batch.view` (augmented and normalised on the device) → `mixing` (mixed) → `network` (experts) →
`criterion` (loss).

`B` batch, `E` experts, `C` classes, `D` features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from base import Batch, BatchShard, Stateful, Step
from model.experts import ExpertModel, expert_logits_of
from model.loss import ExpertLoss, at_least_float32
from trainer.methods.base import Method, StepOutput
from trainer.methods.mixing import Combiner, MixedBatch
from utils.random_streams import Stream, generator

__all__ = ["Supervised"]

Metric = Callable[[Tensor, Tensor], Tensor]


class Supervised(Method):
    """The mean loss of labelled images, from each expert's logits or from their mean.

    Args:
        network: to train.
        criterion: see `model.loss.ExpertLoss`.
        mixing: mixes a batch's images and targets.
        metrics: name → metric of (output [B, C], targets [B]), for the record.
        give_expert_logits: whether the loss sees each expert's logits.
        log_expert_losses: record each expert's loss.
        training_prior: class frequencies of the images as they are drawn, [C].
        seed: the run's seed.
    """

    def __init__(
        self,
        network: ExpertModel,
        *,
        criterion: ExpertLoss,
        mixing: Combiner,
        metrics: dict[str, Metric],
        give_expert_logits: bool,
        log_expert_losses: bool,
        training_prior: np.ndarray,
        seed: int,
    ) -> None:
        super().__init__(network)
        self.criterion = criterion
        self.mixing = mixing
        self.metrics = metrics
        self.give_expert_logits = give_expert_logits
        self.log_expert_losses = log_expert_losses
        self.training_prior = training_prior
        self.seed = seed

    def forward(self, batches: Mapping[str, Batch], step: Step) -> StepOutput:
        """The loss of the labelled images [B, 3, H, W] of "train"."""
        batch = batches["train"]
        mixed = self.mixing(batch.view("train"), batch.targets, step, batch.shard)
        network_output = self.run_network(mixed.images, self.kept_by_dropout(batch.shard, step))
        expert_logits = mixed.mix_logits(at_least_float32(expert_logits_of(network_output)))  # [B, E, C]
        output = expert_logits.mean(dim=1)  # [B, E, C] → [B, C]
        losses = self._losses(mixed, output, expert_logits)
        logs = {name: value.detach() for name, value in losses.items()}
        return StepOutput(losses["loss"], {**logs, **self._metrics(mixed, output.detach())})

    def checkpoint_parts(self) -> dict[str, Stateful]:
        """The network and the loss."""
        return {**super().checkpoint_parts(), "criterion": self.criterion}

    def home_prior(self) -> np.ndarray | None:
        """As the loss says, of the frequencies in which the classes are drawn."""
        return self.criterion.home_prior(self.training_prior)

    def kept_by_dropout(self, shard: BatchShard, step: Step) -> Tensor | None:
        """What dropout keeps of a shard's features [B, E, D], as factors; None without dropout.

        It is drawn for the global batch, so that it does not depend on how that is cut.
        """
        backbone = self.network.backbone
        probability = backbone.dropout.p
        if not probability:
            return None
        shape = (shard.total, backbone.num_experts, backbone.feature_dim)
        drawn = generator(self.seed, Stream.DROPOUT, step.epoch, step.index).random(shape, np.float32)
        kept = torch.from_numpy(drawn[shard.begin : shard.end] >= probability)
        return kept.to(next(backbone.parameters()).device, torch.float32) / max(1 - probability, 1e-9)

    def _losses(self, mixed: MixedBatch, output: Tensor, expert_logits: Tensor) -> dict[str, Tensor]:
        """The loss, and each expert's where they are recorded, weighed by the mixing."""
        extra_info = {"logits": expert_logits.transpose(0, 1)} if self.give_expert_logits else None  # [E, B, C]
        names: Sequence[str] = ()

        def measure(targets: Tensor) -> Tensor:
            nonlocal names
            loss, by_expert = self.criterion(output, targets, extra_info, return_expert_losses=True)
            names = ("loss", *by_expert) if self.log_expert_losses else ("loss",)
            return torch.stack([loss, *by_expert.values()])

        weighed = mixed.targets.weigh(measure)  # fills in the names
        return dict(zip(names, weighed, strict=False))

    @torch.no_grad()
    def _metrics(self, mixed: MixedBatch, output: Tensor) -> dict[str, Tensor]:
        """The metrics of a training batch, weighed as its loss is."""

        def weighed(metric: Metric) -> Tensor:
            return mixed.targets.weigh(lambda targets: metric(output, targets))

        return {name: weighed(metric) for name, metric in self.metrics.items()}

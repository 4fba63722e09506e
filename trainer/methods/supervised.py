"""The published method: experts trained on labelled images, mixed or not.

One image's trip: `batch.view` (augmented and normalised on the device) → `mixing` (mixed) → `network` (experts) →
`criterion` (loss).

`B` batch, `E` experts, `C` classes, `D` features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from base import Batch, BatchShard, Stateful, Step
from model.experts import ExpertModel, expert_logits_of
from model.losses.base import ExpertLoss, at_least_float32
from model.targets import MixedTargets
from trainer.methods.base import Method, StepOutput
from trainer.methods.mixing import Combiner
from utils.device_copies import to_device
from utils.random_streams import Stream, generator

__all__ = ["Supervised"]

Metric = Callable[[Tensor, Tensor], Tensor]


class Supervised(Method):
    """The mean loss of labelled images, from each expert's logits or from their mean.

    Args:
        network: to train.
        criterion: see `model.losses.base.ExpertLoss`.
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
        network_output = self.run_network(mixed.images, self.dropout_factors(batch.shard, step))
        expert_logits = mixed.mix_logits(at_least_float32(expert_logits_of(network_output)))  # [B, E, C]
        output = expert_logits.mean(dim=1)  # [B, E, C] → [B, C]
        extra_info = {"logits": expert_logits.transpose(0, 1)} if self.give_expert_logits else None  # [E, B, C]
        value = self.criterion(output, mixed.targets, extra_info, return_expert_losses=self.log_expert_losses)
        loss, by_expert = value if self.log_expert_losses else (value, {})
        logs = {"loss": loss.detach(), **by_expert, **self._metrics(mixed.targets, output.detach())}
        return StepOutput(loss, logs)

    def start_epoch(self, epoch: int) -> None:
        """The loss is told as well."""
        super().start_epoch(epoch)
        self.criterion.start_epoch(epoch)

    def checkpoint_parts(self) -> dict[str, Stateful]:
        """The network and the loss."""
        return {**super().checkpoint_parts(), "criterion": self.criterion}

    def home_priors(self) -> np.ndarray | None:
        """As the loss says, of the frequencies in which the classes are drawn."""
        return self.criterion.home_priors(self.training_prior)

    def dropout_factors(self, shard: BatchShard, step: Step) -> Tensor | None:
        """What dropout keeps of a shard's features [B, E, D], as factors; None without dropout.

        It is drawn for the global batch, so that it does not depend on how that is cut.
        """
        backbone = self.network.backbone
        probability = backbone.dropout.p
        if not probability:
            return None
        shape = (shard.total, backbone.num_experts, backbone.feature_dim)
        drawn = generator(self.seed, Stream.DROPOUT, step.epoch, step.index).random(shape, np.float32)
        kept = to_device(drawn[shard.begin : shard.end] >= probability, next(backbone.parameters()).device)
        return kept.to(torch.float32) / max(1 - probability, 1e-9)

    @torch.no_grad()
    def _metrics(self, targets: MixedTargets, output: Tensor) -> dict[str, Tensor]:
        """The metrics of a training batch, weighed as its loss is."""
        return {
            name: targets.weigh(lambda labels, metric=metric: metric(output, labels))  # type: ignore[misc]
            for name, metric in self.metrics.items()
        }

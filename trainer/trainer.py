"""The training loop: one step on one screen.

One image's trip: loader (file → batch) → `loader.transform` (augmented and normalised on the device) → `combiner`
(mixed) → `model` (experts) → `criterion` (loss). A batch is the global one; a process has its share of it, and takes
that in one part or several.

`B` batch, `E` experts, `C` classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from base import BaseDataLoader, BaseTrainer, Batch, Share, Stateful
from data_loader.lost_workers import lost_workers_told
from model.calibration import negative_log_likelihood
from model.experts import ExpertModel, expert_logits_of
from model.loss import at_least_float32
from model.scores import balanced_accuracy, confusion_matrix, normalise_rows
from trainer.engine.loss_guard import LossGuard
from trainer.engine.parallel import Parallel
from trainer.engine.precision import Precision
from trainer.evaluation.predictions import predict
from trainer.methods.mixing import Combiner, MixedBatch
from utils.random_streams import Stream, generator
from utils.reporting.meters import RunningMeans
from utils.reporting.plots import confusion_figure
from utils.reporting.progress import progress_bar

Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """Everything that training is made of.

    Args:
        model: images [B, 3, H, W] → see `model.experts.ExpertModel.forward`.
        parallel: runs the model on the devices that there are, in its precision.
        precision: of backward pass and update, too.
        criterion: see `model.loss.ExpertLoss`.
        optimizer: over the model's parameters.
        schedule: stepped once an epoch.
        train_loader: batches to train on.
        valid_loader: batches to validate on.
        combiner_of: epoch (from 1) → how its batches are mixed.
        metrics: name → metric of (output [B, C], targets [B]).
        give_expert_logits: whether the loss sees each expert's logits.
        log_expert_losses: record each expert's loss.
        device: where the model lies.
        seed: the run's seed.
        meters: means of the epoch under way.
    """

    model: ExpertModel
    parallel: Parallel
    precision: Precision
    criterion: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    train_loader: BaseDataLoader
    valid_loader: BaseDataLoader
    combiner_of: Callable[[int], Combiner]
    metrics: dict[str, Metric]
    give_expert_logits: bool
    log_expert_losses: bool
    device: torch.device
    seed: int
    meters: RunningMeans


class Trainer(BaseTrainer):
    """Trains and validates; see `BaseTrainer` for what surrounds the epochs."""

    def __init__(self, ingredients: Ingredients, **run: Any) -> None:
        self.meters = ingredients.meters
        parts: dict[str, Stateful] = {
            "state_dict": ingredients.model,
            "optimizer": ingredients.optimizer,
            "lr_scheduler": ingredients.schedule,
            "criterion": ingredients.criterion,
            "meters": ingredients.meters,
            "precision": ingredients.precision,
        }
        super().__init__(parts=parts, **run)
        self.ingredients = ingredients
        self.guard = LossGuard(
            self.options.on_nonfinite,
            self.options.max_skipped_steps,
            ingredients.model,
            self.state,
            self.folder,
            distributed=self.distributed,
        )

    def train_step(self, batch: Batch, epoch: int, step: int) -> None:
        """One update of the weights from a batch, of which this process has its share."""
        use = self.ingredients
        share = use.parallel.share(use.train_loader.images_of_step(step))
        parts = use.parallel.micro_batches(share)
        self.guard.before_forward()
        use.optimizer.zero_grad(set_to_none=True)
        measured = []
        for part in parts:
            images_of_part = batch.cut(part.begin - share.begin, part.end - share.begin)
            with use.parallel.exchange(now=part is parts[-1]):
                measured.append(self.add_gradients(images_of_part, part, epoch, step))

        loss = torch.stack([part.weight * values["loss"] for part, values in zip(parts, measured, strict=True)]).sum()
        if self.guard.admits(loss, epoch=epoch, step=step, rate=self._rate, sample_ids=batch.sample_ids):
            use.precision.update(use.optimizer)
            for part, values in zip(parts, measured, strict=True):
                self.meters.add(values, part.images)

    def add_gradients(self, batch: Batch, part: Share, epoch: int, step: int) -> dict[str, Tensor]:
        """Forward and backward pass of a part of a global batch; returns its losses and metrics."""
        use = self.ingredients
        images = use.train_loader.transform(batch.images.to(use.device, non_blocking=True), batch.sample_ids)
        targets = batch.targets.to(use.device, non_blocking=True)
        mixed = use.combiner_of(epoch)(images, targets, epoch=epoch, step=step, part=part)

        answer = use.parallel.forward(mixed.images, self._kept_by_dropout(part, epoch, step))
        expert_logits = mixed.mix_logits(at_least_float32(expert_logits_of(answer)))  # [B, E, C]
        output = expert_logits.mean(dim=1)
        losses = self._losses(mixed, output, expert_logits)
        use.precision.backward(losses["loss"] * use.parallel.loss_factor(part))
        return {**losses, **self._metrics(mixed, output.detach())}

    def train_steps(self, epoch: int) -> None:
        """Train the steps of an epoch (counted from 1) that are left, `between_steps` after each."""
        use, first_step = self.ingredients, self.state.step
        use.model.train()
        title = f"epoch {epoch}/{self.options.epochs}"
        batches = use.train_loader.epoch(
            epoch, first_step=first_step, rank=self.distributed.rank, size=self.distributed.size
        )
        with (
            progress_bar(title, use.train_loader.num_images, shown=self.distributed.is_main) as bar,
            lost_workers_told(),
        ):
            bar.update(first_step * use.train_loader.batch_size)
            for step, batch in enumerate(batches, first_step):
                self.train_step(batch, epoch, step)
                self.state.step = step + 1
                images = use.train_loader.images_of_step(step)
                if bar.update(images):  # the bar is being redrawn: the moment to wait for the device
                    loss = self.meters.means().get("loss", math.nan)
                    bar.set_postfix(loss=f"{loss:.3f}", lr=f"{self._rate:.2g}", refresh=False)
                self.between_steps()

    def validate(self, epoch: int) -> dict[str, float]:
        """Evaluate on the validation split: cross-entropy of the ensemble, balanced accuracy and the metrics."""
        use = self.ingredients
        self.distributed.copy_from_main(use.model.buffers())  # BatchNorm's statistics: each process has its own
        predicted = predict(
            use.model,
            use.valid_loader,
            use.device,
            precision=use.precision,
            distributed=self.distributed,
            title="validation",
            between_batches=self.between_steps,
        )
        return self.distributed.from_main(None if predicted is None else self._score(*predicted, epoch))

    def finish_epoch(self, validation: Mapping[str, float]) -> dict[str, float]:
        """Losses, metrics and learning rate of the epoch; the meters start anew and the schedule moves on."""
        self.meters.merge(self.distributed)
        log = self.distributed.from_main({**self.meters.means(), "lr": self._rate})
        self.meters.reset()
        schedule = self.ingredients.schedule
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(validation[self.monitor.name])
        else:
            schedule.step()
        return log

    def check_losses(self) -> None:
        """See to it that no loss since the last call was other than a finite number."""
        self.guard.check()

    def before_save(self) -> None:
        """Bring what the processes have counted together in rank 0."""
        self.meters.merge(self.distributed)

    def _score(self, logits: np.ndarray, targets: np.ndarray, epoch: int) -> dict[str, float]:
        """What is logged of the validation split, from each expert's logits [N, E, C] and labels [N]."""
        use = self.ingredients
        output = logits.mean(axis=1)  # [N, E, C] → [N, C]
        balanced = balanced_accuracy(output.argmax(axis=1), targets, use.train_loader.num_classes)
        log = {"val_loss": negative_log_likelihood(output, targets), "val_balanced_accuracy": balanced}
        for name, metric in use.metrics.items():
            log[f"val_{name}"] = float(metric(torch.from_numpy(output), torch.from_numpy(targets)))
        if epoch % self.options.save_period == 0 or epoch == self.options.epochs:
            self._record_confusion(output.argmax(axis=1), targets, epoch)
        return log

    def _kept_by_dropout(self, part: Share, epoch: int, step: int) -> Tensor | None:
        """What dropout keeps of a part's features [B, E, D], as factors; None without dropout.

        It is drawn for the global batch, so that it does not depend on how that is cut.
        """
        use, backbone = self.ingredients, self.ingredients.model.backbone
        probability = backbone.dropout.p
        if not probability:
            return None
        shape = (part.total, backbone.num_experts, backbone.feature_dim)
        kept = generator(use.seed, Stream.DROPOUT, epoch, step).random(shape, np.float32)[part.begin : part.end]
        return torch.from_numpy(kept >= probability).to(use.device, torch.float32) / max(1 - probability, 1e-9)

    @property
    def _rate(self) -> float:
        return float(self.ingredients.optimizer.param_groups[0]["lr"])

    def _losses(self, mixed: MixedBatch, output: Tensor, expert_logits: Tensor) -> dict[str, Tensor]:
        """The loss, and each expert's where they are recorded, weighed by the mixing."""
        use = self.ingredients
        extra_info = {"logits": expert_logits.transpose(0, 1)} if use.give_expert_logits else None  # [E, B, C]
        names: Sequence[str] = ()

        def measure(targets: Tensor) -> Tensor:
            nonlocal names
            loss, by_expert = use.criterion(output, targets, extra_info, return_expert_losses=True)
            names = ("loss", *by_expert) if use.log_expert_losses else ("loss",)
            return torch.stack([loss, *by_expert.values()])

        weighed = mixed.weigh(measure)  # fills in the names
        return dict(zip(names, weighed, strict=False))

    @torch.no_grad()
    def _metrics(self, mixed: MixedBatch, output: Tensor) -> dict[str, Tensor]:
        """The metrics of a training batch, weighed as its loss is."""

        def weighed(metric: Metric) -> Tensor:
            return mixed.weigh(lambda targets: metric(output, targets))

        return {name: weighed(metric) for name, metric in self.ingredients.metrics.items()}

    def _record_confusion(self, predictions: np.ndarray, targets: np.ndarray, epoch: int) -> None:
        names = self.ingredients.train_loader.class_names
        confusion = normalise_rows(confusion_matrix(predictions, targets, len(names)))
        self.recorder.figure("confusion_matrix", confusion_figure(confusion, names), epoch)

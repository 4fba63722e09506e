"""The training loop: one step on one screen, for every method.

What a step trains is the method's (`trainer/methods/`), how its gradients come about is the engine's
(`trainer/engine/engine.py`), how they become an update is the update rule's (`trainer/engine/update_rules/`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from base import BaseDataLoader, BaseTrainer, Batch, Step
from data_loader.lost_workers import report_lost_workers
from model.scores import confusion_matrix, normalise_rows
from trainer.engine.batches import batches_of_epoch
from trainer.engine.engine import Engine, StepMeasures
from trainer.engine.loss_guard import LossGuard
from trainer.engine.rate_schedule import RateSchedule
from trainer.engine.update_rules.base import UpdateRule
from trainer.evaluation.predictions import predict
from trainer.evaluation.validation import validation_curves, validation_scores
from trainer.methods.base import Method
from utils.reporting.meters import RunningMeans
from utils.reporting.plots import confusion_figure
from utils.reporting.progress import progress_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Trainer(BaseTrainer):
    """Trains and validates; see `BaseTrainer` for what surrounds the epochs.

    Args:
        method: what is trained.
        engine: how its gradients come about.
        update_rule: how they become an update.
        optimizer: of the method's trainable parameters.
        schedule: of the learning rate.
        loaders: name → batches to train on; "train" counts the steps.
        validation_loader: batches to validate on.
        metrics: names of those that are taken of the validation split.
        meters: means of the epoch under way.
        run: see `BaseTrainer`.
    """

    def __init__(
        self,
        *,
        method: Method,
        engine: Engine,
        update_rule: UpdateRule,
        optimizer: Optimizer,
        schedule: RateSchedule,
        loaders: Mapping[str, BaseDataLoader],
        validation_loader: BaseDataLoader,
        metrics: Sequence[str],
        meters: RunningMeans,
        **run: Any,
    ) -> None:
        super().__init__(**run)
        self.method = method
        self.engine = engine
        self.update_rule = update_rule
        self.optimizer = optimizer
        self.schedule = schedule
        self.loaders = loaders
        self.validation_loader = validation_loader
        self.metrics = metrics
        self.meters = meters
        self._predicted: tuple[np.ndarray, np.ndarray] | None = None  # of the last validation: classes, labels [N]
        self._curves: dict[str, float] = {}  # of the same, for the recorder alone
        options = self.options
        # the loss's part is the configuration's, and may hold an infinite weight of a class without images
        learnt = {name: part for name, part in method.checkpoint_parts().items() if name != "criterion"}
        self.guard = LossGuard(
            options.on_nonfinite,
            options.max_skipped_steps,
            method.network,
            self.state,
            self.folder,
            distributed=self.distributed,
            learnt={**learnt, "optimizer": optimizer},
        )

    def train_step(self, batches: Mapping[str, Batch], step: Step) -> None:
        """One update of the weights from this process's shard of a batch of each loader."""

        def compute_gradients(*, synchronised: bool = True) -> StepMeasures:
            # all micro-batches, processes, and the precision are in here; an update rule may call it twice
            self.optimizer.zero_grad(set_to_none=True)
            return self.engine.accumulate(batches, step, synchronised=synchronised)

        def is_finite(measures: StepMeasures) -> bool:
            return self.guard.is_finite_step(measures.loss, step, self.schedule.rate, batches["train"].sample_ids)

        self.schedule.before_step(step)
        self.guard.before_step()
        measures = self.update_rule(compute_gradients, is_finite)
        if measures is None:  # skipped: the weights are what they were
            return
        self.method.after_update(step)
        for means, images in measures.means:
            self.meters.add(means, images)

    def train_steps(self, epoch: int) -> None:
        """Train the steps of an epoch (counted from 1) that are left, `between_steps` after each."""
        loader, first_step = self.loaders["train"], self.state.step
        self.method.start_epoch(epoch)
        self.engine.follow_parameters()
        title = f"epoch {epoch}/{self.options.epochs}"
        with progress_bar(title, loader.num_images, shown=self.distributed.is_main) as bar, report_lost_workers():
            bar.update(first_step * loader.batch_size)
            read = batches_of_epoch(self.loaders, epoch, first_step, self.distributed)
            for index, batches in enumerate(self.obeying_signals(read), first_step):
                self.train_step(batches, Step(epoch, index))
                self.state.step = index + 1
                if bar.update(batches["train"].shard.total):  # the bar is being redrawn: time to wait for the device
                    loss = self.meters.means().get("loss", math.nan)
                    bar.set_postfix(loss=f"{loss:.3f}", lr=f"{self.schedule.rate:.2g}", refresh=False)
                self.between_steps()
        self.method.finish_epoch(epoch, lambda: self._training_images(epoch))

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Train and validate; the meters start anew and the schedule moves on."""
        self.train_steps(epoch)
        self.guard.check()
        validation = self.validate(epoch) if self.options.validate else {}
        self.guard.check_validation(validation, epoch)
        # not before the validation is over: a run that is stopped within it goes on from there
        self.meters.merge(self.distributed)
        log = self.distributed.from_main({**self.meters.means(), "lr": self.schedule.rate})
        self.meters.reset()
        self.schedule.after_epoch(validation.get(self.monitor.name))
        return {**log, **validation}

    def validate(self, epoch: int) -> dict[str, float]:
        """Evaluate each of the method's networks on the validation split: `val_loss`, `val_averaged_loss`, …"""
        log: dict[str, float] = {}
        for weights, network in self.method.networks().items():
            self.distributed.copy_from_main(network.buffers())  # BatchNorm's statistics: each process has its own
            predicted = predict(
                network,
                self.validation_loader,
                self.engine.device,
                distributed=self.distributed,
                title="validation",
                between_batches=self.between_steps,
                watch=self.obeying_signals,
            )
            scores = None if predicted is None else self._score(predicted.logits, predicted.targets, weights)
            log |= self.distributed.from_main(scores)
        return log

    def record_epoch(self, epoch: int, log: Mapping[str, float]) -> None:
        """The curves and, of epochs that have a checkpoint, the confusion matrix."""
        super().record_epoch(epoch, {**log, **self._curves})
        if self._predicted is not None and (epoch % self.options.save_period == 0 or epoch == self.options.epochs):
            self.recorder.figure("confusion_matrix", self._confusion, epoch)

    def before_save(self) -> None:
        """Look at all losses and what has been learnt, and bring what the processes have counted together in rank 0."""
        self.guard.check()
        self.meters.merge(self.distributed)

    def _training_images(self, epoch: int) -> Iterable[Tensor]:
        """This process's training images of an epoch in the method's first view, not mixed: batches [B, 3, H, W]."""
        rank, size = self.distributed.rank, self.distributed.size
        for batch in self.loaders["train"].epoch(epoch, rank=rank, size=size):
            yield batch.to(self.engine.device).view(self.method.views[0])

    def _score(self, logits: np.ndarray, targets: np.ndarray, weights: str) -> dict[str, float]:
        """What is logged of a network on the validation split, from each expert's logits [N, E, C] and labels [N]."""
        counts = self.validation_loader.cls_num_list
        if weights == "raw":
            self._predicted = logits.mean(axis=1).argmax(axis=1), targets  # [N, E, C] → [N]
            self._curves = validation_curves(logits, targets, counts)
        return validation_scores(logits, targets, counts, self.metrics, weights=weights)

    def _confusion(self) -> Figure | None:
        """The confusion matrix of the last validation, drawn."""
        assert self._predicted is not None
        predictions, targets = self._predicted
        names = self.validation_loader.class_names
        return confusion_figure(lambda: normalise_rows(confusion_matrix(predictions, targets, len(names))), names)

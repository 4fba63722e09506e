"""Predictions of a checkpoint's networks on a split: those stored beside it, or computed once and stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from base import View
from data_loader.loader import ImageDataLoader
from trainer.build import build_precision
from trainer.config.run_config import RunConfig
from trainer.evaluation.checkpoint_networks import run_networks
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.stored_predictions import stored_predictions
from trainer.evaluation.trained_images import TrainedImages
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.files.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """What predicts the splits of one run.

    Args:
        checkpoint: the networks' file.
        read: what it holds.
        parser: the run's configuration as plain data.
        config: the same, typed.
        trained: how its training images are looked for among test images.
        device: where the networks run.
        distributed: the processes that share the work.
    """

    checkpoint: Path
    read: Checkpoint
    parser: ConfigParser
    config: RunConfig
    trained: TrainedImages
    device: torch.device
    distributed: DistributedContext

    def of(self, split: ImageDataLoader, *, view: View = "test", epoch: int = 0) -> Predictions | None:
        """The predictions of a split's images, as a view shows them; None but in rank 0.

        Args:
            split: the loader of the images.
            view: see `trainer.evaluation.predictions.predict`.
            epoch: likewise; random views of another epoch are others.

        Raises:
            UserError: a network's logits are no finite numbers, or own test images were trained on.
        """
        return stored_predictions(
            self.checkpoint,
            self.read.digest,
            self.parser.config,
            split.targets,
            lambda: self._computed(split, view, epoch),
            precision=build_precision(self.config, self.device).name,
            contents=split.contents if self.distributed.is_main else None,
            split=split.split if view == "test" else f"view{epoch}",
            distributed=self.distributed,
        )

    def _computed(self, split: ImageDataLoader, view: View, epoch: int) -> Predictions | None:
        searches = self.distributed.is_main and split.split == "test" and view == "test"
        with self.distributed.main_first():
            trained_on = self.trained.search(split) if searches else None
        split.prepare_views((view,), self.device)
        computed = run_networks(
            self.config,
            self.read.content,
            self.checkpoint,
            split,
            self.device,
            distributed=self.distributed,
            view=view,
            epoch=epoch,
        )
        return None if computed is None else replace(computed, trained_on=trained_on)

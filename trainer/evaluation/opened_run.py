"""A trained run on its test split: opened by its checkpoint, predicted once, scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_loader.loader import ImageDataLoader
from data_loader.run_data import RunData
from model.prior_estimation import HeldOut
from trainer.config.run_config import RunConfig, run_config
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.applied_calibration import NO_CALIBRATION, AppliedCalibration, read_choice
from trainer.evaluation.distributions import Distribution, TestSplit, select
from trainer.evaluation.home import home_priors
from trainer.evaluation.loaded_split import loaded_split
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.presets import Preset
from trainer.evaluation.priors import NONE, HeldOutUse, TestPrior
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.result_files import repair_results, write_results
from trainer.evaluation.results import result_row
from trainer.evaluation.split_predictions import SplitPredictions
from trainer.evaluation.tested_data import data_name
from trainer.evaluation.trained_images import TrainedImages, trained_counts, trained_in_words
from trainer.loaders import build_loader
from utils.allocator import keep_freed_memory
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext, process_group
from utils.distributed.device import choose_device
from utils.distributed.environment import LaunchEnvironment, report_once
from utils.errors import UserError
from utils.files.checkpoint import read_checkpoint
from utils.reporting.logger import set_up_logging

_NAMED = 5


@dataclass(frozen=True)
class TestRun:
    """A trained run on its test split.

    Args:
        checkpoint: the networks' file.
        loader: of the test split.
        predictions: of the checkpoint's networks on the whole test split.
        description: configuration, checkpoint and training images, in a line.
        homes: the class prior that each expert, or their mean alone, is right under, [E, C] or [1, C]; None: unknown.
        held_out: predictions of labelled images that it was not trained on; None: they were not asked for.
        data: what the results call the test images.
        calibration: of its predictors.
        digest: SHA-256 of the checkpoint that was read.
        views: predictions of two random views of the test images; None: they were not asked for.
    """

    __test__ = False

    checkpoint: Path
    loader: ImageDataLoader
    predictions: Predictions
    description: str
    homes: np.ndarray | None = None
    held_out: Predictions | None = None
    data: str = ""
    calibration: AppliedCalibration = NO_CALIBRATION
    digest: str = ""
    views: tuple[Predictions, Predictions] | None = None

    def selected(self, preset: Preset) -> list[Distribution]:
        """The test distributions of a preset."""
        whole = () if self.split.is_uniform or not preset.by_default else ("as_split",)
        return select((*whole, *preset.distributions), self.split, leave_out=preset.by_default)

    @cached_property
    def split(self) -> TestSplit:
        """The whole test split."""
        return loaded_split(self.loader, self.predictions.targets, self.predictions.skipped)

    @property
    def split_in_words(self) -> str:
        """Lines on images that can't be read or were trained on, and on a split that is not uniform; else nothing."""
        lines = []
        if count := len(self.predictions.skipped):
            named = ", ".join(self.loader.files_of(self.predictions.skipped[:_NAMED])) + ", …" * (count > _NAMED)
            lines.append(
                f"without {count} of {len(self.split.targets) + count} test images, which can't be read: {named}\n"
            )
        lines.append(trained_in_words(self.loader, self.predictions.trained_on))
        return "".join(lines) + self.split.in_words

    def rows(
        self,
        preset: Preset,
        distributions: Sequence[Distribution],
        *,
        prior: TestPrior = NONE,
        intervals: bool = False,
    ) -> list[dict[str, Any]]:
        """The results of a preset on its selected distributions, those of the raw weights first."""
        trained_on = trained_counts(self.predictions, distributions)
        skipped = {"skipped": self.loader.files_of(self.predictions.skipped)} if len(self.predictions.skipped) else {}
        return [
            {
                **result_row(
                    scores, checkpoint=self.checkpoint, protocol=preset.protocol, weights=weights, data=self.data
                ),
                "trained_on": trained_on[scores["distribution"]],
                **skipped,
            }
            for weights, logits in self.predictions.logits.items()
            for scores in evaluate(
                logits,
                self.predictions.targets,
                self.loader.cls_num_list,
                distributions=distributions,
                predictors=predictors(preset.aggregations, logits.shape[1]),
                priors=[prior],
                homes=self.homes,
                class_names=self.loader.class_names,
                held_out=self.held_out_of(weights),
                intervals=intervals,
                calibration=self.calibration.of(weights),
                views=None if self.views is None else np.stack([view.logits[weights] for view in self.views]),
            )
        ]

    def held_out_of(self, weights: str) -> HeldOut | None:
        """Each expert's logits [K, E, C] and labels [K] of the held-out images, by one kind of weights."""
        held_out = self.held_out
        return None if held_out is None else HeldOut(held_out.logits[weights], held_out.targets)

    def store(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Enter rows into the run's result files; returns the line that says where.

        Raises:
            UserError: they can't be kept.
        """
        return "Results written to " + ", ".join(str(path) for path in write_results(self.checkpoint.parent, rows))


def open_run(
    parser: ConfigParser,
    environment: LaunchEnvironment,
    *,
    log_config: str | None = None,
    held_out: HeldOutUse = "unused",
    allow_trained: bool = False,
    calibration: str | None = None,
    views: bool = False,
) -> TestRun | None:
    """Load the checkpoint that `-r` names with the configuration beside it, and predict its test split once.

    Processes that torchrun has started share the work, and all but rank 0 end with None.

    Args:
        parser: the configuration, with the checkpoint.
        environment: the processes as they were launched.
        log_config: file of a logging configuration.
        held_out: whether to predict the images, too, that were held out from training for validation, where there are.
        allow_trained: own test images may be among those that the run was trained on.
        calibration: what the flag says, see `trainer.evaluation.calibration_flag`.
        views: whether to predict two random views of the test images, too.

    Raises:
        UserError: what can't be read, or is another checkpoint's calibration; held-out images are "needed", and the
            validation images are the test images.
    """
    with report_once(environment):
        config = run_config(parser, trained=True)
        set_up_logging(config.trainer.verbosity if environment.is_main else 0, config_file=log_config)
        device = choose_device(config.n_gpu, environment)
        if device.type == "cpu":
            keep_freed_memory()
    with process_group(environment, device) as distributed:
        return _predicted(
            parser,
            config,
            device,
            distributed,
            held_out=held_out,
            allow_trained=allow_trained,
            calibration=calibration,
            views=views,
        )


def _predicted(
    parser: ConfigParser,
    config: RunConfig,
    device: torch.device,
    distributed: DistributedContext,
    *,
    held_out: HeldOutUse,
    allow_trained: bool,
    calibration: str | None,
    views: bool,
) -> TestRun | None:
    checkpoint = parser.resume
    assert checkpoint is not None, "the flags were read"
    if distributed.is_main:
        repair_results(checkpoint.parent)
    with distributed.main_first():
        read = read_checkpoint(checkpoint)
        known = RunData.of(read.content, checkpoint.parent, parser.config["data_loader"], evaluates=True)
        loader = build_loader(config, processes=distributed.local_size, known=known).of_split("test")
        num_classes = loader.num_classes
        applied = read_choice(calibration, checkpoint=checkpoint, digest=read.digest, num_classes=num_classes)
        predicts_validation = held_out != "unused" and _has_held_out_images(loader, needed=held_out == "needed")

    if not len(loader.targets):
        raise UserError("there are no test images: a class whose images are split keeps its last one for training")
    if len(set(distributed.gather(read.digest))) > 1:
        raise UserError(f"{checkpoint}: was replaced while the processes read it; evaluate again")

    trained = TrainedImages(config, read.content, known, allow_trained)
    predicted = SplitPredictions(checkpoint, read, parser, config, trained, device, distributed)
    predictions = predicted.of(loader)
    validation = predicted.of(loader.of_split("validation")) if predicts_validation else None
    first, second = (
        predicted.of(loader.of_split("test"), view="weak", epoch=epoch) if views else None for epoch in (1, 2)
    )
    if predictions is None:
        return None
    return TestRun(
        checkpoint=checkpoint,
        loader=loader,
        predictions=trained.checked(predictions, loader),
        description=_described(config.name, checkpoint, read.content.get("epoch", "unknown"), loader.cls_num_list),
        homes=home_priors(config, loader),
        held_out=validation,
        data=data_name(loader),
        calibration=applied,
        digest=read.digest,
        views=None if first is None or second is None else (first, second),
    )


def _described(name: str, checkpoint: Path, epoch: int | str, counts: Sequence[int]) -> str:
    return (
        f"{name}, {checkpoint.name} (epoch {epoch}): trained on {sum(counts)} images of {len(counts)} classes, "
        f"{max(counts)} to {min(counts)} a class"
    )


def _has_held_out_images(loader: ImageDataLoader, *, needed: bool) -> bool:
    """Not so where they are test images: what is fitted to them would be tested on what it was fitted to."""
    has_them = not loader.validates_on_test_split and len(loader.splits["validation"].targets) > 0
    if needed and not has_them:
        raise UserError(
            "labelled images are needed that the network was not trained on, and the validation images are the test "
            "images: hold some out when you train, with data_loader.args.validation_split=0.1"
        )
    return has_them

"""A trained run for notebooks: its scores and figures on the test images, and its answers for any others.

    run = TrainedRun.load("saved/…/20261126_200000")  # or one of its checkpoints
    print(run.evaluate(["forward50", "uniform", "backward50"], prior="known"))
    run.evaluate().classes_figure()
    run.predict(["a.jpg", "b.png"]).probabilities

`docs/notebooks.md` shows all of it. `N` images, `C` classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from base.run_folder import BEST_NAME
from trainer.evaluation.opened_run import open_run
from trainer.evaluation.presets import WHOLE, Preset
from trainer.evaluation.prior_flags import assumption, prior_named
from trainer.evaluation.priors import FoundPrior, PriorContext, TestPrior
from trainer.evaluation.results import RAW
from trainer.inference.run_scores import RunScores
from trainer.inference.trained_network import Answers, TrainedNetwork
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.distributed.environment import LaunchEnvironment
from utils.errors import UserError
from utils.files.checkpoint_names import checkpoints_of
from utils.files.class_tables import by_class

Images = Sequence[str | Path] | np.ndarray
"""Paths; or pixels, uint8 [N, H, W, 3] (red first) or [N, H, W] (grey), of any height and width."""


@dataclass(frozen=True)
class TrainedRun:
    """A run's folder, by one of its checkpoints.

    Args:
        checkpoint: the one that is meant; the run's `config.json` lies beside it.
        weights: "raw", or "averaged", of the network that predicts.
        device: where it predicts.
    """

    checkpoint: Path
    weights: str = RAW
    device: str | torch.device = "cpu"

    @classmethod
    def load(cls, path: str | Path, *, weights: str = RAW, device: str | torch.device = "cpu") -> TrainedRun:
        """A run by its folder, of which the best checkpoint, or else the newest, is taken; or by a checkpoint.

        Raises:
            UserError: there is no checkpoint.
        """
        place = Path(path)
        if place.is_dir():
            best = place / BEST_NAME
            found = [best] if best.is_file() else checkpoints_of(place)
            if not found:
                raise UserError(f"{place}: holds no checkpoint")
            place = found[0]
        elif not place.is_file():
            raise UserError(f"{place}: no such run, nor a checkpoint")
        return cls(place, weights, device)

    @cached_property
    def network(self) -> TrainedNetwork:
        """The network, loaded when it is first asked for.

        Raises:
            UserError: see `TrainedNetwork.load`.
        """
        return TrainedNetwork.load(self.checkpoint, weights=self.weights, device=self.device)

    @property
    def class_names(self) -> list[str]:
        """Length C."""
        return self.network.class_names

    @property
    def class_counts(self) -> list[int] | None:
        """Training images of each class, length C; None: the checkpoint doesn't say."""
        return self.network.class_counts

    def predict(self, images: Images, *, prior: str | Mapping[str, float] | TestPrior = "none") -> Answers:
        """What the network says of images, which need no labels.

        Args:
            images: see `Images`; pixels are called by their indices in what is returned.
            prior: of the images' classes: "none", "auto" or another estimate, a file, or class → frequency.

        Raises:
            UserError: not one image can be read, or the prior can't be had without labels.
            ValueError: pixels of another type or shape.
        """
        assumed = as_prior(prior)
        if assumed.name == "known" or assumed.held_out == "needed":
            raise UserError(f"prior {assumed.name}: needs labelled images, which are not given here")
        if not isinstance(images, np.ndarray):
            return self.network.predict(images, prior=assumed)
        with tempfile.TemporaryDirectory() as folder:  # PNG keeps every bit, and one way of reading images suffices
            answers = self.network.predict(_written(images, Path(folder)), prior=assumed)
        return replace(answers, files=[str(index) for index in range(len(images))])

    def evaluate(
        self,
        distributions: Sequence[str] | None = None,
        *,
        prior: str | Mapping[str, float] | TestPrior = "none",
        calibration: str = "none",
        intervals: bool = False,
    ) -> RunScores:
        """Scores on the run's test images, as `test.py` and the sweeps have them, without an entry in its results.

        The network runs over the test split once; its predictions are kept beside the checkpoint.

        Args:
            distributions: names or files, for the ensemble; None: all test images, for the ensemble and each expert.
            prior: what is known of each distribution's classes: "none", "known", "auto" or another estimate, a file, or
                class → frequency.
            calibration: "none", "stored", or a file of `tools.calibrate`.
            intervals: whether each metric has a 95 % bootstrap interval over the images.

        Raises:
            UserError: what can't be read, or a distribution or a prior that there is not, or that the images don't
                allow.
        """
        assumed = as_prior(prior)
        parser = ConfigParser.from_file(self.checkpoint.parent / CONFIG_NAME, resume=self.checkpoint)
        opened = open_run(parser, LaunchEnvironment(), held_out=assumed.held_out, calibration=calibration)
        assert opened is not None, "there is one process"
        preset = WHOLE if distributions is None else Preset("", "shifts", tuple(distributions), ("mean",), False)
        rows = opened.rows(preset, opened.selected(preset), prior=assumed, intervals=intervals)
        names, counts = opened.loader.class_names, opened.loader.cls_num_list
        return RunScores(rows, list(names), list(counts), assumption(assumed, rows))


def as_prior(given: str | Mapping[str, float] | TestPrior) -> TestPrior:
    """A prior by its name, a file's, or class → frequency.

    Raises:
        UserError: there is none of this name; when it is used, a class that is missing or unknown.
    """
    if isinstance(given, TestPrior):
        return given
    if isinstance(given, str):
        return prior_named(given)
    written = [(str(name), float(frequency)) for name, frequency in given.items()]

    def find(logits: np.ndarray, context: PriorContext) -> FoundPrior:
        numbers = by_class(Path("prior"), written, context.class_names)
        if not (np.isfinite(numbers).all() and numbers.min() >= 0 and numbers.sum() > 0):
            raise UserError("prior: frequencies are numbers of 0 or more, and not all 0")
        return FoundPrior(numbers / numbers.sum())

    return TestPrior("given", find, "the test prior is given: log π_test − log π_home is added to the logits")


def _written(pixels: np.ndarray, folder: Path) -> list[Path]:
    """Pixels as files, one an image."""
    is_grey, is_colour = pixels.ndim == 3, pixels.ndim == 4 and pixels.shape[-1] == 3
    if pixels.dtype != np.uint8 or not (is_grey or is_colour) or 0 in pixels.shape:
        raise ValueError(f"expected pixels as uint8 [N, H, W, 3] or [N, H, W]; got {pixels.dtype} {pixels.shape}")
    paths = [folder / f"{index}.png" for index in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path, compress_level=1)
    return paths

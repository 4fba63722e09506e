"""A trained network for images that nobody has labelled: neither its training images nor its test images are needed.

    network = TrainedNetwork.load("saved/…/checkpoint-epoch60.pth")
    answers = network.predict(["a.jpg", "b.png"])
    answers.probabilities, answers.class_names, answers.unreadable

`N` images, `E` experts, `C` classes, `S` side of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from data_loader.given_images import GivenImagesLoader
from data_loader.loader import ImageDataLoader
from model.calibration import softmax
from model.experts import ExpertModel
from model.posthoc_calibration import Calibrator
from model.priors import mean_home
from trainer.build import bare_network, build_model
from trainer.config.components import method_classes
from trainer.config.run_config import run_config
from trainer.engine.precision import faster_precision
from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.evaluation.calibrations import (
    CALIBRATION_FILE,
    StoredCalibration,
    check_calibration,
)
from trainer.evaluation.checkpoint_networks import weights_in
from trainer.evaluation.home import home_in_words, home_priors
from trainer.evaluation.predictions import Predicted, predict
from trainer.evaluation.priors import NONE, PriorContext, TestPrior
from trainer.evaluation.results import RAW
from trainer.inference.answers import Answers
from trainer.loaders import loader_of_checkpoint
from trainer.weights import load_weights
from utils.config.json_files import read_configuration
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.distributed.device import choose_device
from utils.distributed.environment import LaunchEnvironment
from utils.errors import UserError
from utils.files.checkpoint import read_checkpoint

ENSEMBLE = "ensemble"
"""The predictor's name in calibrations."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A checkpoint's network with what the checkpoint says of its classes.

    Args:
        run: name of the configuration.
        checkpoint: its file.
        digest: SHA-256 of the file.
        epoch: after which it was written; None where it doesn't say.
        weights: "raw", or "averaged".
        kinds_of_weights: those that the checkpoint has.
        network: with these weights, on `device`.
        device: where it lies.
        loader: the run's, whose images need not be there: how they are read and brought to the network's size.
        class_names: length C.
        class_counts: training images of each class, length C; None: the checkpoint doesn't say.
        home: [C], the class prior under which the mean of the experts' logits is right; None: unknown.
    """

    run: str
    checkpoint: Path
    digest: str
    epoch: int | None
    weights: str
    kinds_of_weights: tuple[str, ...]
    network: ExpertModel
    device: torch.device
    loader: ImageDataLoader
    class_names: list[str]
    class_counts: list[int] | None
    home: np.ndarray | None

    @classmethod
    def load(cls, checkpoint: str | Path, *, weights: str = RAW, device: str | torch.device = "cpu") -> TrainedNetwork:
        """By its file, with the config.json beside it.

        Raises:
            UserError: it can't be read, doesn't fit its configuration, or has no such weights.
        """
        path = Path(checkpoint)
        source = path.parent / CONFIG_NAME
        config, files = read_configuration(source)
        parser = ConfigParser(config, source=str(source), resume=path, files=files)
        return cls.open(parser, weights=weights, device=torch.device(device))

    @classmethod
    def open(
        cls, parser: ConfigParser, *, weights: str = RAW, device: torch.device | None = None, plain: bool = False
    ) -> TrainedNetwork:
        """By the configuration that names the checkpoint; further arguments and errors as of `load`.

        On a CPU it is uncompiled, and in a precision that is not slow there.

        Args:
            parser: the configuration.
            weights: which of the checkpoint's.
            device: None: as `utils.distributed.device.choose_device` chooses, a GPU where the run asks for one and
                there is one.
            plain: in float32 and uncompiled, however the run was trained.
        """
        checkpoint = parser.resume
        assert checkpoint is not None, "the flags were read"
        config, read = run_config(parser, trained=True), read_checkpoint(checkpoint)
        states = weights_in(
            read.content, dict.fromkeys(n for kind in method_classes(config.method) for n in kind.weights)
        )
        if weights not in states:
            raise UserError(f"{checkpoint}: has no {weights} weights; there are {', '.join(states)}")
        loader, counts = loader_of_checkpoint(config, parser, read.content)
        place = device or choose_device(config.n_gpu, LaunchEnvironment())
        if place.type == "cpu":
            precision = faster_precision(config.trainer.precision, place)
            config = replace(config, trainer=replace(config.trainer, precision=precision, compile=False))
        network = bare_network(config).to(place) if plain else build_model(config, place)
        load_weights(network, states[weights], checkpoint)
        homes = None if counts is None else home_priors(config, loader)
        return cls(
            run=config.name,
            checkpoint=checkpoint,
            digest=read.digest,
            epoch=read.content.get("epoch"),
            weights=weights,
            kinds_of_weights=tuple(states),
            network=network,
            device=place,
            loader=loader,
            class_names=list(loader.class_names),
            class_counts=counts,
            home=None if homes is None else mean_home(homes),
        )

    @property
    def home_in_words(self) -> str:
        """See `trainer.evaluation.home.home_in_words`."""
        return home_in_words(self.home, self.class_counts)

    def images(self, files: Sequence[str | Path]) -> GivenImagesLoader:
        """How image files are read for the network: see `GivenImagesLoader`."""
        return GivenImagesLoader.like(self.loader, [str(path) for path in files], self.class_names)

    def expert_logits(self, files: Sequence[str | Path]) -> Predicted:
        """Each expert's logits of image files [N, E, C], and which of the files could not be read.

        Raises:
            UserError: not one image can be read.
        """
        loader = self.images(files)
        loader.prepare_views(loader.views, self.device)
        found = predict(self.network, loader, self.device)
        assert found is not None, "there is one process"
        return found

    def predict(
        self, files: Sequence[str | Path], *, prior: TestPrior = NONE, calibrator: Calibrator | None = None
    ) -> Answers:
        """What the network says of image files; those that can't be read are left out and named.

        Args:
            files: paths.
            prior: what is assumed of the class prior of these images, see `trainer.evaluation.priors`: an estimate is
                made from all of them.
            calibrator: of the ensemble's logits, before that.

        Raises:
            UserError: not one image can be read, or the prior can't be had: `known` needs labels.
        """
        paths, found = [str(path) for path in files], self.expert_logits(files)
        skipped = set(found.skipped.tolist())
        logits = mean_of_experts(found.logits)  # [N, E, C] → [N, C]
        calibrated = logits if calibrator is None else calibrator(logits)
        context = PriorContext(None, self.class_counts, self.class_names, self.home)
        try:
            assumed = prior.found(calibrated, context)
        except ValueError as error:
            raise UserError(f"--prior {prior.name}: {error}") from None
        return Answers(
            [path for index, path in enumerate(paths) if index not in skipped],
            [path for index, path in enumerate(paths) if index in skipped],
            softmax(prior.corrected(calibrated, assumed, context, calibrator).astype(np.float64)),
            softmax(logits.astype(np.float64)),
            softmax(found.logits.astype(np.float64)),
            self.class_names,
            assumed,
        )

    def calibration(self, given: str) -> StoredCalibration | None:
        """The calibration that `--calibration` names, which has this checkpoint's ensemble; None: "none".

        Raises:
            UserError: it can't be read, or is not for this checkpoint, these weights or these classes.
        """
        if given == "none":
            return None
        if given == "stored":
            found = CALIBRATION_FILE.of_checkpoint(self.checkpoint, self.digest)
        else:
            found = CALIBRATION_FILE.read(Path(given), self.digest)
        check_calibration(found, len(self.class_names))
        found.fitted(self.weights, ENSEMBLE)
        return found

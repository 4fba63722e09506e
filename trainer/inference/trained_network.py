"""A trained network for images that nobody has labelled: neither its training images nor its test images are needed.

    network = TrainedNetwork.load("saved/…/checkpoint-epoch60.pth")
    answers = network.predict(["a.jpg", "b.png"])
    answers.probabilities, answers.class_names, answers.unreadable

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_loader.given_images import GivenImagesLoader
from data_loader.loader import ImageDataLoader
from model.calibration import softmax
from model.experts import ExpertModel
from model.posthoc_calibration import Calibrator
from model.priors import mean_home
from trainer.build import build_model
from trainer.config.components import DATA_LOADER, method_classes
from trainer.config.run_config import RunConfig, run_config
from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.evaluation.checkpoint_networks import weights_in
from trainer.evaluation.home import home_priors
from trainer.evaluation.predictions import predict
from trainer.evaluation.priors import NONE, FoundPrior, PriorContext, TestPrior
from trainer.evaluation.results import RAW
from trainer.weights import load_weights
from utils.config.json_files import read_configuration
from utils.config.parser import CONFIG_NAME, ConfigParser
from utils.config.sections import build
from utils.errors import UserError
from utils.files.checkpoint import read_checkpoint


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network says of some images.

    Args:
        files: those that could be read, N.
        unreadable: the others.
        probabilities: of the ensemble, calibrated and under the test prior as they were asked for, [N, C].
        expert_probabilities: each expert's as they are, [N, E, C].
        class_names: length C.
        found: the test prior that was found; None: none was assumed.
    """

    files: list[str]
    unreadable: list[str]
    probabilities: np.ndarray
    expert_probabilities: np.ndarray
    class_names: list[str]
    found: FoundPrior | None

    @property
    def entropies(self) -> np.ndarray:
        """Of the ensemble's probabilities, in nats, [N]: 0 where one class is certain, log C where all are alike."""
        logs = np.log(self.probabilities, out=np.zeros_like(self.probabilities), where=self.probabilities > 0)
        return -(self.probabilities * logs).sum(axis=1)


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A checkpoint's network with what the checkpoint says of its classes.

    Args:
        run: name of the configuration.
        checkpoint: its file.
        digest: SHA-256 of the file.
        weights: "raw", or "averaged".
        network: with these weights, on `device`.
        device: where it lies.
        loader: the run's, without its images: how these are read and brought to the network's size.
        class_names: length C.
        class_counts: training images of each class, length C; None: the checkpoint doesn't say.
        home: [C], the class prior under which the mean of the experts' logits is right; None: unknown.
    """

    run: str
    checkpoint: Path
    digest: str
    weights: str
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
    def open(cls, parser: ConfigParser, *, weights: str = RAW, device: torch.device | None = None) -> TrainedNetwork:
        """By the configuration that names the checkpoint; arguments and errors as of `load`."""
        checkpoint = parser.resume
        assert checkpoint is not None, "the flags were read"
        config, read = run_config(parser), read_checkpoint(checkpoint)
        names = read.content.get("class_names")
        if names is None:
            raise UserError(
                f"{checkpoint}: doesn't say what its classes are called; evaluate it once, with python test.py"
            )
        states = weights_in(
            read.content, dict.fromkeys(n for kind in method_classes(config.method) for n in kind.weights)
        )
        if weights not in states:
            raise UserError(f"{checkpoint}: has no {weights} weights; there are {', '.join(states)}")
        place = device or torch.device("cpu")
        network = build_model(config, place)
        load_weights(network, states[weights], checkpoint)
        counts = read.content.get("class_counts")
        loader = _without_images(config, list(names), counts)
        homes = None if counts is None else home_priors(config, loader)
        return cls(
            run=config.name,
            checkpoint=checkpoint,
            digest=read.digest,
            weights=weights,
            network=network,
            device=place,
            loader=loader,
            class_names=list(names),
            class_counts=counts,
            home=None if homes is None else mean_home(homes),
        )

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
        paths = [str(path) for path in files]
        found = predict(self.network, GivenImagesLoader.like(self.loader, paths, self.class_names), self.device)
        assert found is not None, "there is one process"
        skipped = set(found.skipped.tolist())
        logits = mean_of_experts(found.logits)  # [N, E, C] → [N, C]
        if calibrator is not None:
            logits = calibrator(logits)
        context = PriorContext(None, self.class_counts, self.class_names, self.home)
        try:
            assumed = prior.found(logits, context)
        except ValueError as error:
            raise UserError(f"--prior {prior.name}: {error}") from None
        return Answers(
            [path for index, path in enumerate(paths) if index not in skipped],
            [path for index, path in enumerate(paths) if index in skipped],
            softmax(prior.corrected(logits, assumed, context, calibrator).astype(np.float64)),
            softmax(found.logits.astype(np.float64)),
            self.class_names,
            assumed,
        )


def _without_images(config: RunConfig, class_names: list[str], counts: Sequence[int] | None) -> ImageDataLoader:
    loader: ImageDataLoader = build(config.data_loader, DATA_LOADER, context={"seed": config.seed}, path="data_loader")
    return loader.without_images(class_names, counts or [0] * len(class_names))

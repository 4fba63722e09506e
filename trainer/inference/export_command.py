"""What `python -m tools.export` does: a checkpoint becomes one file, checked against it before it is kept.

`N` images, `C` classes, `S` side of an image.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base.base_data_loader import CPU
from data_loader.given_images import GivenImagesLoader
from model.calibration import softmax
from model.deployed import DeployedModel
from model.posthoc_calibration import Calibrator
from model.priors import adjust_logits
from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.inference.check_images import check_images
from trainer.inference.pixels import ResizeRule
from trainer.inference.program_files import FORMATS, IMAGES, PROBABILITIES, Program, capture
from trainer.inference.trained_network import ENSEMBLE, TrainedNetwork
from utils.config.parser import ConfigParser
from utils.errors import RunError, UserError
from utils.files.class_tables import by_class, read_prior
from utils.files.writing import write_bytes

TOLERANCE = 1e-4
"""Between probabilities of the file and of the checkpoint."""

_CHECKED = 32
_FORMAT = "export 1"


@dataclass(frozen=True)
class Correction:
    """What stands between the mean of the experts' logits and the probabilities.

    Args:
        calibration: its method's name, or "none".
        calibrator: of the logits; None: there is none.
        prior_file: what the prior was read from; None: there is none.
        prior: [C], of the images to come.
        home: [C], where the predictor is at home; None: unknown.
    """

    calibration: str
    calibrator: Calibrator | None
    prior_file: Path | None
    prior: np.ndarray | None
    home: np.ndarray | None

    def probabilities(self, expert_logits: np.ndarray) -> np.ndarray:
        """[N, E, C] → [N, C], as an evaluation computes them."""
        logits = mean_of_experts(expert_logits)
        if self.calibrator is not None:
            logits = self.calibrator(logits)
        if self.calibrator is not None and self.prior is not None and self.home is not None:
            logits = self.calibrator.corrected(logits, self.prior, self.home)
        elif self.prior is not None:
            logits = adjust_logits(logits, self.prior, home_prior=self.home)
        return softmax(logits)

    @property
    def in_words(self) -> str:
        """A line on both."""
        calibration = "none" if self.calibrator is None else f"{self.calibration}, T = {self.temperature:.3f}"
        prior = "none" if self.prior_file is None else self.prior_file.name
        return f"calibration: {calibration}; test prior: {prior}"

    @property
    def temperature(self) -> float:
        """1 without calibration."""
        return 1.0 if self.calibrator is None else self.calibrator.temperature


def export(parser: ConfigParser, arguments: argparse.Namespace) -> None:
    """Write the file that the flags ask for, and say what it is.

    Args:
        parser: the configuration, with the checkpoint.
        arguments: see `tools.export`.

    Raises:
        UserError: what can't be read, a package that is missing, or a file that can't be written.
        RunError: the file's probabilities are not the checkpoint's.
    """
    kind = FORMATS[arguments.format]
    kind.check_packages()
    network = TrainedNetwork.open(parser, weights=arguments.weights, device=CPU, plain=True)
    correction, images = _correction(network, arguments), network.images([])
    checked = check_images(network, parser, arguments.check_on, count=_CHECKED)
    out = arguments.out or network.checkpoint.with_suffix(kind.suffix)
    content = kind.write(
        capture(_deployed(network, images, correction), images.image_side), _metadata(network, images, correction)
    )
    expected = correction.probabilities(_expert_logits(network, images, checked.pixels))
    difference, count = largest_difference(kind.read(content), checked.pixels, expected), len(checked.pixels)
    on = f"{count} {checked.in_words}, in batches of 1 and {count}"
    if not difference <= TOLERANCE:
        raise RunError(
            f"{out}: not written: its probabilities differ from the checkpoint's by {difference:.2g} on {on}; "
            f"at most {TOLERANCE:g} is allowed"
        )
    write_bytes(out, content)
    weights = "" if len(network.kinds_of_weights) == 1 else f", {network.weights} weights"
    print(
        f"{network.run}, {network.checkpoint.name} (epoch {network.epoch or 'unknown'}){weights}: "
        f"{network.network.num_experts} experts, {network.network.num_classes} classes, images of "
        f"{images.image_side}×{images.image_side} pixels\n"
        f"{correction.in_words}; home: {network.home_in_words}\n"
        f"Largest difference to the checkpoint's probabilities: {difference:.1e}, on {on}\n"
        f"Written to {out} ({len(content) / 1e6:.1f} MB); runs with {kind.runs_with}"
    )


def largest_difference(program: Program, pixels: np.ndarray, expected: np.ndarray) -> float:
    """Between expected probabilities [N, C] and a program's, of images [N, S, S, 3] one by one and all at once."""
    alone = np.concatenate([program.run(pixels[row : row + 1]) for row in range(len(pixels))])
    return float(max(np.abs(found - expected).max() for found in (alone, program.run(pixels))))


@torch.inference_mode()
def _expert_logits(network: TrainedNetwork, images: GivenImagesLoader, pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S, 3] → each expert's logits [N, E, C], as an evaluation computes them."""
    raw = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # [N, S, S, 3] → [N, 3, S, S]
    inputs = images.transform(raw, np.zeros((len(raw), 3), np.int64), "test")  # nothing in it depends on the ids
    logits: np.ndarray = network.network.eval().expert_logits(inputs).numpy()
    return logits


def _correction(network: TrainedNetwork, arguments: argparse.Namespace) -> Correction:
    calibration, prior = network.calibration(arguments.calibration), None
    if arguments.prior is not None:
        prior = by_class(arguments.prior, read_prior(arguments.prior), network.class_names)
        if network.home is None:
            raise UserError(
                f"--prior {arguments.prior}: the method does not say which class prior its predictor is right for, and "
                "the correction starts from there"
            )
    if calibration is None:
        return Correction("none", None, arguments.prior, prior, network.home)
    calibrator = calibration.of(network.weights, ENSEMBLE)
    return Correction(calibration.method, calibrator, arguments.prior, prior, network.home)


def _deployed(network: TrainedNetwork, images: GivenImagesLoader, correction: Correction) -> DeployedModel:
    return DeployedModel(
        network.network,
        mean=images.normalise.mean,
        std=images.normalise.std,
        calibrator=correction.calibrator,
        home_prior=correction.home,
        target_prior=correction.prior,
    )


def _metadata(network: TrainedNetwork, images: GivenImagesLoader, correction: Correction) -> dict[str, Any]:
    """What the file says of itself; `docs/export.md` explains it."""
    side, prior, home = images.image_side, correction.prior, network.home
    return {
        "format": _FORMAT,
        "class_names": list(network.class_names),
        "input": {
            "name": IMAGES,
            "type": "uint8",
            "layout": "NHWC",
            "shape": ["batch", side, side, 3],
            "channels": "RGB",
        },
        "output": {"name": PROBABILITIES, "type": "float32", "shape": ["batch", network.network.num_classes]},
        "resize": ResizeRule(side, images.crop.resized).metadata,
        "normalisation": {"mean": list(images.normalise.mean), "std": list(images.normalise.std)},
        "experts": network.network.num_experts,
        "weights": network.weights,
        "home": network.home_in_words,
        "home_prior": None if home is None else home.tolist(),
        "test_prior": None if prior is None else prior.tolist(),
        "test_prior_file": None if correction.prior_file is None else correction.prior_file.name,
        "calibration": correction.calibration,
        "temperature": correction.temperature,
        "run": network.run,
        "checkpoint": network.checkpoint.name,
        "checkpoint_sha256": network.digest,
        "epoch": network.epoch,
        "torch": version("torch"),
    }

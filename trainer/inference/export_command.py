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

from model.calibration import softmax
from model.deployed import DeployedModel
from model.priors import adjust_logits
from trainer.evaluation.aggregations.mean import mean_of_experts
from trainer.evaluation.calibrations import (
    StoredCalibration,
    check_calibration,
    read_calibration,
    stored_calibration,
)
from trainer.evaluation.results import RAW
from trainer.inference.opened_network import OpenedNetwork, open_network
from trainer.inference.program_files import FORMATS, IMAGES, PROBABILITIES, Program, capture
from utils.config.parser import ConfigParser
from utils.errors import RunError, UserError
from utils.files.class_tables import by_class, read_prior
from utils.files.writing import write_bytes

TOLERANCE = 1e-4
"""Between probabilities of the file and of the checkpoint."""

_PREDICTOR = "ensemble"
_CHECKED = 32
_FORMAT = "export 1"


@dataclass(frozen=True)
class Correction:
    """What stands between the mean of the experts' logits and the probabilities.

    Args:
        calibration: None: there is none.
        prior_file: what the prior was read from; None: there is none.
        prior: [C], of the images to come.
        home: [C], where the predictor is at home; None: unknown.
    """

    calibration: StoredCalibration | None
    prior_file: Path | None
    prior: np.ndarray | None
    home: np.ndarray | None

    def probabilities(self, expert_logits: np.ndarray) -> np.ndarray:
        """[N, E, C] → [N, C], as an evaluation computes them."""
        logits = mean_of_experts(expert_logits)
        calibrator = None if self.calibration is None else self.calibration.of(RAW, _PREDICTOR)
        if calibrator is not None:
            logits = calibrator(logits)
        if calibrator is not None and self.prior is not None and self.home is not None:
            logits = calibrator.corrected(logits, self.prior, self.home)
        elif self.prior is not None:
            logits = adjust_logits(logits, self.prior, home_prior=self.home)
        return softmax(logits)

    @property
    def in_words(self) -> str:
        """A line on both."""
        calibration = "none" if self.calibration is None else f"{self.calibration.method}, T = {self.temperature:.3f}"
        prior = "none" if self.prior_file is None else self.prior_file.name
        return f"calibration: {calibration}; test prior: {prior}"

    @property
    def temperature(self) -> float:
        """1 without calibration."""
        return 1.0 if self.calibration is None else self.calibration.of(RAW, _PREDICTOR).temperature


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
    opened = open_network(parser)
    correction = _correction(opened, arguments)
    out = arguments.out or opened.checkpoint.with_suffix(kind.suffix)
    content = kind.write(
        capture(_deployed(opened, correction), opened.loader.image_side), _metadata(opened, correction)
    )
    pixels = opened.test_pixels(_CHECKED)
    difference = largest_difference(kind.read(content), pixels, correction.probabilities(opened.expert_logits(pixels)))
    checked = f"{len(pixels)} test images, in batches of 1 and {len(pixels)}"
    if not difference <= TOLERANCE:
        raise RunError(
            f"{out}: not written: its probabilities differ from the checkpoint's by {difference:.2g} on {checked}; "
            f"at most {TOLERANCE:g} is allowed"
        )
    write_bytes(out, content)
    network, side = opened.network, opened.loader.image_side
    print(
        f"{opened.run}, {opened.checkpoint.name} (epoch {opened.epoch or 'unknown'}): {network.num_experts} experts, "
        f"{network.num_classes} classes, images of {side}×{side} pixels\n"
        f"{correction.in_words}; home: {opened.home_in_words}\n"
        f"Largest difference to the checkpoint's probabilities: {difference:.1e}, on {checked}\n"
        f"Written to {out} ({len(content) / 1e6:.1f} MB); runs with {kind.runs_with}"
    )


def largest_difference(program: Program, pixels: np.ndarray, expected: np.ndarray) -> float:
    """Between expected probabilities [N, C] and a program's, of images [N, S, S, 3] one by one and all at once."""
    alone = np.concatenate([program.run(pixels[row : row + 1]) for row in range(len(pixels))])
    return float(max(np.abs(found - expected).max() for found in (alone, program.run(pixels))))


def _correction(opened: OpenedNetwork, arguments: argparse.Namespace) -> Correction:
    calibration, prior = None, None
    if arguments.calibration == "stored":
        calibration = stored_calibration(opened.checkpoint, opened.digest)
    elif arguments.calibration != "none":
        calibration = read_calibration(Path(arguments.calibration), opened.digest)
    if calibration is not None:
        check_calibration(calibration, opened.network.num_classes)
        calibration.fitted(RAW, _PREDICTOR)
    if arguments.prior is not None:
        prior = by_class(arguments.prior, read_prior(arguments.prior), opened.loader.class_names)
        if opened.home is None:
            raise UserError(
                f"--prior {arguments.prior}: the method does not say which class prior its predictor is right for, and "
                "the correction starts from there"
            )
    return Correction(calibration, arguments.prior, prior, opened.home)


def _deployed(opened: OpenedNetwork, correction: Correction) -> DeployedModel:
    normalisation, calibration = opened.loader.normalisation(), correction.calibration
    return DeployedModel(
        opened.network,
        mean=normalisation.mean,
        std=normalisation.std,
        calibrator=None if calibration is None else calibration.of(RAW, _PREDICTOR),
        home_prior=correction.home,
        target_prior=correction.prior,
    )


def _metadata(opened: OpenedNetwork, correction: Correction) -> dict[str, Any]:
    """What the file says of itself; `docs/export.md` explains it."""
    side, normalisation = opened.loader.image_side, opened.loader.normalisation()
    calibration, prior, home = correction.calibration, correction.prior, opened.home
    return {
        "format": _FORMAT,
        "class_names": list(opened.loader.class_names),
        "input": {
            "name": IMAGES,
            "type": "uint8",
            "layout": "NHWC",
            "shape": ["batch", side, side, 3],
            "channels": "RGB",
        },
        "output": {"name": PROBABILITIES, "type": "float32", "shape": ["batch", opened.network.num_classes]},
        "resize": opened.resize_rule.metadata,
        "normalisation": {"mean": list(normalisation.mean), "std": list(normalisation.std)},
        "experts": opened.network.num_experts,
        "home": opened.home_in_words,
        "home_prior": None if home is None else home.tolist(),
        "test_prior": None if prior is None else prior.tolist(),
        "test_prior_file": None if correction.prior_file is None else correction.prior_file.name,
        "calibration": "none" if calibration is None else calibration.method,
        "temperature": correction.temperature,
        "run": opened.run,
        "checkpoint": opened.checkpoint.name,
        "checkpoint_sha256": opened.digest,
        "epoch": opened.epoch,
        "torch": version("torch"),
    }

"""Calibrations that were fitted on held-out images, kept in a file beside the checkpoint: `<stem>.calibration.json`.

    stored = CALIBRATION_FILE.of_checkpoint(checkpoint, digest)  # or CALIBRATION_FILE.read(path)
    calibrator = stored.of("raw", "ensemble")
    calibrated = calibrator(logits)  # [M, C], before any correction to another class prior

`C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.posthoc_calibration import Calibrator
from trainer.evaluation.fitted_files import Fitted, FittedFile, origin_from_json
from utils.errors import UserError


@dataclass(frozen=True, eq=False)
class FittedPredictor:
    """One predictor's calibration.

    Args:
        calibrator: for its combined logits [M, C].
        home: the class prior, in words, that the predictor is at home on, see `trainer.evaluation.home.home_in_words`.
    """

    calibrator: Calibrator
    home: str


@dataclass(frozen=True, eq=False)
class StoredCalibration(Fitted):
    """A calibration of one checkpoint's predictors.

    Args:
        checkpoint, digest, fitted_on: see `Fitted`.
        method: a name of `model.posthoc_calibration.CALIBRATIONS`: "ts", "bcts", "vs", "sts".
        held_out_counts: images of each class that it was fitted to, length C.
        predictors: by weights ("raw", "averaged"), then by predictor ("ensemble", "expert 0", …).
        source: where it was read from, for messages.
    """

    method: str
    held_out_counts: tuple[int, ...]
    predictors: Mapping[str, Mapping[str, FittedPredictor]]
    source: str = "the calibration"

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.held_out_counts)

    def has(self, weights: str, predictor: str) -> bool:
        """Whether it knows a predictor."""
        return predictor in self.predictors.get(weights, {})

    def fitted(self, weights: str, predictor: str) -> FittedPredictor:
        """The calibration of a predictor with its home.

        Raises:
            UserError: it was not fitted to this one.
        """
        if self.has(weights, predictor):
            return self.predictors[weights][predictor]
        known = ", ".join(f"{name} ({kind})" for kind, ours in self.predictors.items() for name in ours)
        raise UserError(
            f"{self.source}: holds no calibration of the predictor {predictor} ({weights}), only of {known}"
        )

    def of(self, weights: str, predictor: str) -> Calibrator:
        """The calibration of a predictor: "ensemble", "expert 0"; errors as of `fitted`."""
        return self.fitted(weights, predictor).calibrator


def check_calibration(stored: StoredCalibration, num_classes: int) -> None:
    """Whether it is for so many classes, or a UserError."""
    if stored.num_classes != num_classes:
        raise UserError(f"{stored.source}: is for {stored.num_classes} classes, and here are {num_classes}")


def _as_json(stored: StoredCalibration) -> dict[str, Any]:
    return {
        "method": stored.method,
        **stored.origin_as_json(),
        "held_out_images": sum(stored.held_out_counts),
        "held_out_images_of_classes": list(stored.held_out_counts),
        "weights": {
            weights: {name: _predictor_as_json(fitted) for name, fitted in ours.items()}
            for weights, ours in stored.predictors.items()
        },
    }


def _predictor_as_json(fitted: FittedPredictor) -> dict[str, Any]:
    calibrator = fitted.calibrator
    return {
        "home": fitted.home,
        "temperature": calibrator.temperature,
        "scale": calibrator.scale.tolist(),
        "bias": calibrator.bias.tolist(),
        "sharpening": calibrator.sharpening,
    }


def _from_json(content: Any, source: str) -> StoredCalibration:
    counts = tuple(int(count) for count in content["held_out_images_of_classes"])
    predictors = {
        str(weights): {str(name): _predictor_from_json(fitted, len(counts)) for name, fitted in ours.items()}
        for weights, ours in content["weights"].items()
    }
    method = content["method"]
    if not isinstance(method, str) or not any(predictors.values()):
        raise ValueError("method or predictors")
    return StoredCalibration(*origin_from_json(content), method, counts, predictors, source)


def _predictor_from_json(content: Any, classes: int) -> FittedPredictor:
    scale, bias = (np.asarray(content[name], dtype=np.float64) for name in ("scale", "bias"))
    if not (scale.shape == bias.shape == (classes,) and np.isfinite(bias).all()):
        raise ValueError("shape")
    if not (np.isfinite(scale).all() and (scale > 0).all() and isinstance(content["home"], str)):
        raise ValueError("scale")
    sharpening = float(content.get("sharpening", 0.0))  # files of older programs have none
    if not np.isfinite(sharpening):
        raise ValueError("sharpening")
    return FittedPredictor(Calibrator(scale, bias, sharpening), content["home"])


CALIBRATION_FILE = FittedFile(
    kind="calibration",
    described="a calibration",
    suffix="calibration",
    tool="tools.calibrate",
    most_bytes=200_000_000,  # 8,142 classes, two kinds of weights and eight predictors take a tenth
    as_json=_as_json,
    from_json=_from_json,
    indent=1,
)

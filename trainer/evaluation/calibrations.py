"""Calibrations that were fitted on held-out images, kept in a file beside the checkpoint: `<stem>.calibration.json`.

    stored = read_calibration(path, digest)  # or stored_calibration(checkpoint, digest)
    calibrator = stored.of("raw", "ensemble")
    calibrated = calibrator(logits)  # [M, C], before any correction to another class prior

`C` classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.posthoc_calibration import Calibrator
from utils.config.json_files import UnreadableJsonError, parse_json
from utils.errors import UserError
from utils.files.reading import read_text_file
from utils.files.writing import write_text

_FORMAT = "calibration 1"
_MOST_BYTES = 200_000_000  # 8,142 classes, two kinds of weights and eight predictors take a tenth


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
class StoredCalibration:
    """What was fitted to one checkpoint.

    Args:
        method: a name of `model.posthoc_calibration.CALIBRATIONS`: "ts", "bcts", "vs", "sts".
        checkpoint: name of the file whose networks it is for; of other programs' predictions the name of theirs.
        digest: SHA-256 of that checkpoint; "" where there is none.
        fitted_on: what it was fitted to, in words.
        held_out_counts: images of each class that it was fitted to, length C.
        predictors: by weights ("raw", "averaged"), then by predictor ("ensemble", "expert 0", …).
        source: where it was read from, for messages.
    """

    method: str
    checkpoint: str
    digest: str
    fitted_on: str
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


def calibration_path(checkpoint: Path) -> Path:
    """Where a checkpoint's calibration lies."""
    return checkpoint.with_name(f"{checkpoint.stem}.calibration.json")


def how_to_make(checkpoint: Path) -> str:
    """The command that fits and stores a checkpoint's calibration."""
    return f"python -m tools.calibrate {checkpoint}"


def stored_calibration(checkpoint: Path, digest: str) -> StoredCalibration:
    """The calibration beside a checkpoint.

    Raises:
        UserError: there is none, with the command that makes it; or what `read_calibration` says.
    """
    path, make = calibration_path(checkpoint), how_to_make(checkpoint)
    stored = read_calibration(path, if_missing=f"; make it: {make}")
    if stored.digest != digest:
        raise UserError(f"{path}: was fitted to another checkpoint than {checkpoint.name} is now; make it anew: {make}")
    return stored


def read_calibration(path: Path, digest: str | None = None, *, if_missing: str = "") -> StoredCalibration:
    """A calibration from a file.

    Args:
        path: of the file.
        digest: SHA-256 of the checkpoint that it has to be of; None: of any.
        if_missing: what is said besides where there is no such file.

    Raises:
        UserError: in one line: it is missing, unreadable, of another checkpoint, or holds no calibration.
    """
    text = read_text_file(path, "calibration", most_bytes=_MOST_BYTES, if_missing=if_missing)
    try:
        content = parse_json(text)
    except (json.JSONDecodeError, UnreadableJsonError) as error:
        raise UserError(f"{path}: can't be read as a calibration: {error}") from None
    try:
        stored = _from_json(content, str(path))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise UserError(f"{path}: holds no calibration as tools.calibrate writes it") from None
    if digest is not None and stored.digest != digest:
        raise UserError(
            f"{path}: was fitted to another checkpoint, {stored.checkpoint} (SHA-256 {stored.digest[:12]}…)"
        )
    return stored


def write_calibration(path: Path, stored: StoredCalibration) -> None:
    """Write a file that `read_calibration` reads to the last digit, atomically.

    Raises:
        UserError: the folder can't be written to; an earlier file is untouched.
    """
    write_text(path, json.dumps(_as_json(stored), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def check_calibration(stored: StoredCalibration, num_classes: int) -> None:
    """Whether it is for so many classes, or a UserError."""
    if stored.num_classes != num_classes:
        raise UserError(f"{stored.source}: is for {stored.num_classes} classes, and here are {num_classes}")


def _as_json(stored: StoredCalibration) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "method": stored.method,
        "checkpoint": stored.checkpoint,
        "checkpoint_sha256": stored.digest,
        "fitted_on": stored.fitted_on,
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
    if content["format"] != _FORMAT:
        raise ValueError(content["format"])
    counts = tuple(int(count) for count in content["held_out_images_of_classes"])
    predictors = {
        str(weights): {str(name): _predictor_from_json(fitted, len(counts)) for name, fitted in ours.items()}
        for weights, ours in content["weights"].items()
    }
    method, checkpoint, digest, fitted_on = (
        content[name] for name in ("method", "checkpoint", "checkpoint_sha256", "fitted_on")
    )
    if not all(isinstance(word, str) for word in (method, checkpoint, digest, fitted_on)):
        raise ValueError("words")
    if not any(predictors.values()):
        raise ValueError("predictors")
    return StoredCalibration(method, checkpoint, digest, fitted_on, counts, predictors, source)


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

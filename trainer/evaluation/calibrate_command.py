"""What `python -m tools.calibrate` does: fit to the held-out images, show what that brings, keep it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.evaluation.calibration_fits import (
    FEWEST_IMAGES,
    HeldOutPredictor,
    chosen_method,
    fitted_by_weights,
    held_out_predictors,
)
from trainer.evaluation.calibrations import CALIBRATION_FILE, StoredCalibration
from trainer.evaluation.held_out_images import counts_in_words, open_held_out
from trainer.evaluation.results import RAW
from utils.config.parser import ConfigParser
from utils.distributed.environment import LaunchEnvironment
from utils.errors import UserError
from utils.reporting.tables import decimal, percent, table

_HEADER = ("temperature", "sharpening", "NLL", "calibrated", "ECE %", "calibrated", "top-1 %", "calibrated")
_BELOW = "held-out images, under their own class frequencies; calibrated: each fifth of them by a fit to the other four"


def print_calibration(parser: ConfigParser, environment: LaunchEnvironment, arguments: argparse.Namespace) -> None:
    """Fit a checkpoint's calibration and store it beside the checkpoint.

    Args:
        parser: the configuration, with the checkpoint.
        environment: the processes as they were launched.
        arguments: the flags, see `tools.calibrate`.

    Raises:
        UserError: no images were held out, too few of them, or what the method's predictors are right for is unknown.
    """
    opened = open_held_out(parser, environment, arguments.log_config)
    if opened is None:
        return
    run, images = opened
    labels = images.targets
    if len(labels) < FEWEST_IMAGES:
        raise UserError(
            f"a calibration needs {FEWEST_IMAGES} held-out images at least, and there are {len(labels)}: hold more out "
            "when you train, with data_loader.args.validation_split=0.1"
        )
    held_out = held_out_predictors(images.logits, run.homes, run.loader.cls_num_list)
    if not held_out:
        raise UserError(
            "the method does not say which class prior its predictor is right for, and held-out images are distributed "
            "otherwise: no calibration can be fitted"
        )
    method, why = _method(arguments.method, held_out[0], labels)
    counts = np.bincount(labels, minlength=run.loader.num_classes).tolist()
    fitted_on = f"{len(labels)} training images held out by data_loader.args.validation_split"
    fitted = fitted_by_weights(held_out, method, labels)
    stored = StoredCalibration(run.checkpoint.name, run.digest, fitted_on, method, tuple(counts), fitted)
    path = arguments.out or CALIBRATION_FILE.path(run.checkpoint)
    CALIBRATION_FILE.write(path, stored)
    above = f"{run.description}\n{counts_in_words(fitted_on, counts)}\n{why}"
    print(f"{above}\n\n{_report(held_out, stored, labels)}\n\n{_written(path, run.checkpoint)}")


def _method(given: str | None, ensemble: HeldOutPredictor, labels: np.ndarray) -> tuple[str, str]:
    """The method, and a line on it."""
    if given is not None:
        return given, f"method {given}, as asked for"
    return chosen_method(ensemble, labels)


def _report(held_out: Sequence[HeldOutPredictor], stored: StoredCalibration, labels: np.ndarray) -> str:
    """A row for each predictor: its temperature, and scores without and with the calibration."""
    kinds = {predictor.weights for predictor in held_out} != {RAW}
    rows, gains = [], []
    for predictor in held_out:
        before, after = predictor.scores(stored.method, labels)
        gains.append(before.nll - after.nll)
        rows.append(
            [
                predictor.name,
                *([predictor.weights] if kinds else []),
                f"{stored.of(predictor.weights, predictor.name).temperature:.2f}",
                f"{stored.of(predictor.weights, predictor.name).sharpening:.2f}",
                *(decimal(scores.nll) for scores in (before, after)),
                *(percent(scores.ece) for scores in (before, after)),
                *(percent(scores.accuracy) for scores in (before, after)),
            ]
        )
    warning = "" if gains[0] > 0 else "\nnote: the ensemble's NLL does not fall: it is calibrated well enough as it is"
    return f"{table(['predictor', *(['weights'] if kinds else []), *_HEADER], rows)}\n({_BELOW}){warning}"


def _written(path: Path, checkpoint: Path) -> str:
    beside = path == CALIBRATION_FILE.path(checkpoint)
    return (
        f"Calibration written to {path}; evaluate with: python test.py -r {checkpoint} "
        f"--calibration {'stored' if beside else path}"
    )

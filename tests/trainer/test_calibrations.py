"""Calibrations as files: what was written is read, to the last digit, for its own checkpoint alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.posthoc_calibration import Calibrator
from tests.odd_files import ODD_KINDS, put_odd
from trainer.evaluation.calibrations import (
    CALIBRATION_FILE,
    FittedPredictor,
    StoredCalibration,
    check_calibration,
)
from utils.errors import UserError

DIGEST = "ab" * 32
SCALE, BIAS = np.array([1 / 3, 2.0, 1e-7]), np.array([0.1, -0.2, np.pi])
STORED = StoredCalibration(
    method="vs",
    checkpoint="checkpoint-epoch2.pth",
    digest=DIGEST,
    fitted_on="held-out images",
    held_out_counts=(20, 10, 1),
    predictors={
        "raw": {
            "ensemble": FittedPredictor(Calibrator(SCALE, BIAS), "uniform"),
            "expert 0": FittedPredictor(Calibrator(np.ones(3), np.zeros(3)), "training"),
        },
        "averaged": {"ensemble": FittedPredictor(Calibrator(2 * SCALE, BIAS, 1 / 7), "uniform")},
    },
)


def changed(path: Path, *keys: str, value: Any) -> None:
    """Put another value into a JSON file."""
    content = json.loads(path.read_text(encoding="utf8"))
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content), encoding="utf8")


def test_what_is_written_is_read_to_the_last_digit(tmp_path: Path) -> None:
    path = CALIBRATION_FILE.path(tmp_path / "checkpoint-epoch2.pth")
    CALIBRATION_FILE.write(path, STORED)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint-epoch2.calibration.json"]
    for read in (CALIBRATION_FILE.read(path), CALIBRATION_FILE.read(path, DIGEST)):
        told = [
            (each.method, each.checkpoint, each.digest, each.fitted_on, each.held_out_counts) for each in (read, STORED)
        ]
        assert told[0] == told[1]
        for weights, ours in STORED.predictors.items():
            for name, fitted in ours.items():
                np.testing.assert_array_equal(read.of(weights, name).scale, fitted.calibrator.scale)
                np.testing.assert_array_equal(read.of(weights, name).bias, fitted.calibrator.bias)
                assert read.of(weights, name).sharpening == fitted.calibrator.sharpening
                assert read.fitted(weights, name).home == fitted.home
    content = json.loads(path.read_text(encoding="utf8"))
    assert content["held_out_images"] == 31
    assert content["weights"]["raw"]["expert 0"]["temperature"] == 1


def test_files_of_older_programs_have_no_sharpening(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    CALIBRATION_FILE.write(path, STORED)
    content = json.loads(path.read_text(encoding="utf8"))
    del content["weights"]["averaged"]["ensemble"]["sharpening"]
    path.write_text(json.dumps(content), encoding="utf8")
    assert CALIBRATION_FILE.read(path).of("averaged", "ensemble").sharpening == 0


def test_a_predictor_that_it_was_not_fitted_to_is_told_with_those_it_was() -> None:
    assert STORED.has("averaged", "ensemble")
    assert not STORED.has("averaged", "expert 0")
    assert not STORED.has("other", "ensemble")
    told = (
        r"no calibration of the predictor expert 0 \(averaged\), only of ensemble \(raw\), expert 0 \(raw\), ensemble"
    )
    with pytest.raises(UserError, match=told):
        STORED.of("averaged", "expert 0")
    check_calibration(STORED, 3)
    with pytest.raises(UserError, match="is for 3 classes, and here are 4"):
        check_calibration(STORED, 4)


def test_a_checkpoint_takes_its_own_alone(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model_best.pth"
    with pytest.raises(UserError, match=r"no such calibration; make it: python -m tools\.calibrate .*model_best\.pth$"):
        CALIBRATION_FILE.of_checkpoint(checkpoint, DIGEST)
    path = CALIBRATION_FILE.path(checkpoint)
    CALIBRATION_FILE.write(path, STORED)
    assert CALIBRATION_FILE.of_checkpoint(checkpoint, DIGEST).has("raw", "ensemble")
    with pytest.raises(UserError, match=r"was fitted to another checkpoint than model_best\.pth is now; make it anew"):
        CALIBRATION_FILE.of_checkpoint(checkpoint, "cd" * 32)
    with pytest.raises(UserError, match=r"to another checkpoint, checkpoint-epoch2\.pth \(SHA-256 abababababab…\)"):
        CALIBRATION_FILE.read(path, "cd" * 32)
    path.write_text("{")
    with pytest.raises(
        UserError, match=r"can't be read as a calibration: .*; make it anew: python -m tools\.calibrate "
    ):
        CALIBRATION_FILE.of_checkpoint(checkpoint, DIGEST)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["format"], "calibration 2"),
        (["method"], 3),
        (["held_out_images_of_classes"], [1, 2]),
        (["held_out_images_of_classes"], "many"),
        (["weights"], {}),
        (["weights"], [1]),
        (["weights", "raw"], None),
        (["weights", "raw", "ensemble"], 1),
        (["weights", "raw", "ensemble", "scale"], [1, 2]),
        (["weights", "raw", "ensemble", "scale"], [1, 0, 1]),
        (["weights", "raw", "ensemble", "scale"], [1, 10**400, 1]),
        (["weights", "raw", "ensemble", "bias"], [1, float("nan"), 1]),
        (["weights", "raw", "ensemble", "bias"], [1, "x", 1]),
        (["weights", "raw", "ensemble", "home"], None),
    ],
)
def test_what_is_none_is_one_line(tmp_path: Path, keys: list[str], value: Any) -> None:
    path = tmp_path / "a.calibration.json"
    CALIBRATION_FILE.write(path, STORED)
    changed(path, *keys, value=value)
    with pytest.raises(UserError, match=r"a\.calibration\.json: holds no calibration as tools\.calibrate writes it$"):
        CALIBRATION_FILE.read(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, '{"format": 1, "format": 1}', "[]", "3", "null"])
def test_nor_is_another_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.json: ") as told:
        CALIBRATION_FILE.read(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_named(tmp_path: Path, kind: str) -> None:
    put_odd(tmp_path / "a.json", kind)
    with pytest.raises(UserError, match=ODD_KINDS[kind]):
        CALIBRATION_FILE.read(tmp_path / "a.json")

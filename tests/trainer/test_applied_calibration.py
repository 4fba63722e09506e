"""Calibrated evaluations: the logits that everything else sees, what a row says, which rows are another question's."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from model.posthoc_calibration import CALIBRATIONS, Calibrator
from model.prior_estimation import HeldOut
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, uniform
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.applied_calibration import AppliedCalibration, WeightsCalibration, read_choice
from trainer.evaluation.calibration_fits import chosen_method, fitted_by_weights, held_out_predictors
from trainer.evaluation.calibration_flag import checked_choice
from trainer.evaluation.calibrations import CALIBRATION_FILE, FittedPredictor, StoredCalibration
from trainer.evaluation.distributions import TestSplit, select
from trainer.evaluation.priors import NONE, PRIORS
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.result_files import write_results
from trainer.evaluation.results import result_row, results_table
from utils.errors import UserError

CLASSES = 4
COUNTS = [1000, 300, 100, 30]
TAIL = np.array(COUNTS) / sum(COUNTS)
MIXTURE = GaussianMixture(CLASSES, spread=0.8, dimensions=5)
SHARP = np.array([2.0, 3.0])
LADDER = ("forward10", "uniform", "backward10")


def sharpened(prior: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [M, 2, C] of two experts at home on uniform, both too sure, and labels [M]."""
    logits, labels = MIXTURE.draw(prior, size, seed=seed)
    return np.asarray(logits)[:, np.newaxis] * SHARP[:, np.newaxis], np.asarray(labels)


TEST, LABELS = sharpened(uniform(CLASSES), 1500, 1)
HELD_OUT, HELD_OUT_LABELS = sharpened(TAIL, 800, 2)
HOMES = np.full((2, CLASSES), 1 / CLASSES)


def fitted(method: str) -> WeightsCalibration:
    held_out = held_out_predictors({"raw": HELD_OUT}, HOMES, COUNTS)
    return WeightsCalibration(f"stored: {method}", fitted_by_weights(held_out, method, HELD_OUT_LABELS)["raw"])


def evaluated(calibration: WeightsCalibration | None, prior: str = "none", **changes: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {} if calibration is None else {"calibration": calibration}
    found = evaluate(
        TEST,
        LABELS,
        COUNTS,
        distributions=select(LADDER, TestSplit(LABELS, COUNTS)),
        homes=HOMES,
        held_out=HeldOut(HELD_OUT, HELD_OUT_LABELS),
        **{"predictors": predictors(["mean", "experts"], 2), "priors": [PRIORS[prior]], **given, **changes},
    )
    return list(found)


@pytest.mark.parametrize("method", CALIBRATIONS)
@pytest.mark.parametrize("prior", ["none", "known"])
def test_what_is_too_sure_becomes_right_on_every_distribution(method: str, prior: str) -> None:
    before, after = evaluated(None, prior), evaluated(fitted(method), prior)
    assert {row["calibration"] for row in before} == {"none"}
    assert not any("ece_before" in row for row in before)
    for one, other in zip(before, after, strict=True):
        assert other["calibration"] == f"stored: {method}"
        assert (one["distribution"], one["predictor"]) == (other["distribution"], other["predictor"])
        assert other["ece_before"] == pytest.approx(one["ece"], abs=1e-12)
        if prior == "known":
            assert one["ece"] > 0.08
            assert other["ece"] < 0.5 * one["ece"]
        elif method == "ts":
            assert other["per_class"] == one["per_class"]  # no prediction changes


def test_estimators_get_calibrated_logits_of_test_and_held_out_images(monkeypatch: pytest.MonkeyPatch) -> None:
    halved = FittedPredictor(Calibrator(np.full(CLASSES, 0.5), np.zeros(CLASSES)), "uniform")
    seen: list[np.ndarray] = []

    def find(logits: np.ndarray, context: Any) -> None:
        seen.extend([logits, context.held_out.logits])

    spying = type(NONE)("spying", find, "", from_home=False)
    calibration = WeightsCalibration("file: ts", {"ensemble": halved})
    evaluated(calibration, priors=[spying])
    for found, raw in zip(seen[2:4], (TEST, HELD_OUT), strict=True):  # of the uniform distribution
        np.testing.assert_allclose(np.ptp(found, axis=1), np.ptp(raw.mean(axis=1), axis=1) / 2)


def test_predictors_without_a_calibration_are_left_out_and_one_at_home_elsewhere_is_told() -> None:
    ours = FittedPredictor(Calibrator(np.ones(CLASSES), np.zeros(CLASSES)), "training")
    with pytest.raises(UserError, match="right under the class prior training, and this one is under uniform"):
        evaluated(WeightsCalibration("file: ts", {"ensemble": ours}))
    rows = evaluated(WeightsCalibration("file: ts", {"expert 1": fitted("ts").predictors["expert 1"]}))  # type: ignore[index]
    assert {row["predictor"] for row in rows} == {"expert 1"}


def test_names_of_classes_do_not_matter() -> None:
    new = np.array([2, 0, 3, 1])
    old = np.argsort(new)
    rows = []
    for names, labels, held_out_labels in (
        (np.arange(CLASSES), LABELS, HELD_OUT_LABELS),
        (old, new[LABELS], new[HELD_OUT_LABELS]),
    ):
        held_out = held_out_predictors({"raw": HELD_OUT[:, :, names]}, HOMES, np.array(COUNTS)[names].tolist())
        calibration = WeightsCalibration("vs", fitted_by_weights(held_out, "vs", held_out_labels)["raw"])
        (row,) = evaluate(
            TEST[:, :, names],
            labels,
            np.array(COUNTS)[names].tolist(),
            distributions=select(["uniform"], TestSplit(LABELS, COUNTS)),
            predictors=predictors(["mean"], 2),
            homes=HOMES,
            calibration=calibration,
        )
        rows.append(row)
    assert rows[1]["nll"] == pytest.approx(rows[0]["nll"], rel=1e-4)
    assert rows[1]["ece"] == pytest.approx(rows[0]["ece"], abs=1e-3)


def test_a_calibrated_row_replaces_no_other_and_the_table_has_both_errors(tmp_path: Path) -> None:
    entered = partial(result_row, checkpoint=Path("x.pth"), protocol="shifts", weights="raw")
    plain, calibrated = ([entered(row) for row in evaluated(each)] for each in (None, fitted("ts")))
    earlier = [{name: value for name, value in row.items() if name != "calibration"} for row in plain]
    (tmp_path / "results.json").write_text(json.dumps({"results": earlier}))  # of a version that had none
    for rows in (calibrated, plain, calibrated):
        write_results(tmp_path, rows)
    kept = json.loads((tmp_path / "results.json").read_text())["results"]
    assert len(kept) == len(plain) + len(calibrated)
    assert [row["calibration"] for row in kept].count("none") == len(plain)
    assert results_table(calibrated, first="distribution").splitlines()[0].endswith("ECE %  ECE before %")
    assert "before" not in results_table(plain, first="distribution")


def test_the_method_is_the_one_that_others_images_speak_for() -> None:
    """One temperature is what is wrong here; scales of classes are in the second case; a few images say nothing."""
    (ensemble, *_) = held_out_predictors({"raw": HELD_OUT}, HOMES, COUNTS)
    method, why = chosen_method(ensemble, HELD_OUT_LABELS)
    assert method == "ts"
    assert re.search(r"cross-fitted NLL: ts 0\.\d+, bcts 0\.\d+, vs 0\.\d+", why)
    logits, labels = MIXTURE.draw(long_tail(CLASSES, 5), 4000, seed=5)
    log_posteriors = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    distorted = (log_posteriors * np.array([0.4, 2, 1, 4]) + np.array([2, -2, 1, 0]))[:, np.newaxis]
    (alone,) = held_out_predictors({"raw": distorted}, HOMES[:1], COUNTS)
    assert chosen_method(alone, np.asarray(labels))[0] == "vs"


def test_a_predictor_at_home_on_the_tail_gets_a_sharpness_that_grows_with_the_shift() -> None:
    (alone,) = held_out_predictors({"raw": HELD_OUT[:, :1]}, TAIL[np.newaxis], COUNTS)
    assert chosen_method(alone, HELD_OUT_LABELS) == (
        "sts",
        "method sts: the ensemble is at home on a long tail (training)",
    )


def test_sharpening_is_applied_after_the_correction_and_changes_no_prediction() -> None:
    """By hand: the logits under the known prior, times exp(κ·KL(π_test‖uniform)); without a correction nothing."""
    calibration = WeightsCalibration(
        "stored: sts", {"ensemble": FittedPredictor(Calibrator(np.ones(CLASSES), np.zeros(CLASSES), 0.4), "uniform")}
    )
    for prior in ("none", "known"):
        changes = {"predictors": predictors(["mean"], 2)}
        plain, sharper = evaluated(None, prior, **changes), evaluated(calibration, prior, **changes)
        for before, after, shift in zip(plain, sharper, select(LADDER, TestSplit(LABELS, COUNTS)), strict=True):
            labels = LABELS[shift.indices]
            true = np.bincount(labels, minlength=CLASSES) / len(labels)
            corrected = TEST[shift.indices].mean(axis=1) + (np.log(true) if prior == "known" else 0)
            if prior == "known":
                corrected = corrected * np.exp(0.4 * (true * np.log(true * CLASSES)).sum())
            assert after["nll"] == pytest.approx(log_loss(labels, softmax(corrected, axis=1)), rel=1e-5)
            assert after["accuracy"] == before["accuracy"]


def test_predictors_without_a_home_are_not_fitted() -> None:
    assert held_out_predictors({"raw": HELD_OUT}, None, COUNTS) == []
    found = held_out_predictors({"raw": HELD_OUT, "averaged": HELD_OUT}, HOMES[:1], COUNTS)
    assert [(one.weights, one.name, one.home_in_words) for one in found] == [
        ("raw", "ensemble", "uniform"),
        ("averaged", "ensemble", "uniform"),
    ]


# -- what the flag may be ---------------------------------------------------------------------------------------------


def test_the_flag_is_a_word_or_a_file(tmp_path: Path) -> None:
    assert [checked_choice(given) for given in ("none", "stored", "x.json")] == ["none", "stored", "x.json"]
    with pytest.raises(
        UserError, match=r"--calibration sotred: give none, stored or a JSON file; did you mean 'stored'"
    ):
        checked_choice("sotred")


def test_which_calibration_a_flag_means(tmp_path: Path) -> None:
    checkpoint, raw = tmp_path / "checkpoint-epoch1.pth", fitted("ts").predictors
    assert raw is not None
    counts = tuple(np.bincount(HELD_OUT_LABELS).tolist())
    stored = StoredCalibration(checkpoint.name, "ab", "800 images", "ts", counts, {"raw": raw})
    read = partial(read_choice, checkpoint=checkpoint, num_classes=CLASSES)
    for nothing in (None, "none"):
        chosen = read(nothing, digest="ab")
        assert (chosen.name, chosen.in_words, chosen.of("raw").calibrator("ensemble", "uniform")) == ("none", "", None)
    with pytest.raises(UserError, match=r"make it: python -m tools\.calibrate"):
        read("stored", digest="ab")
    CALIBRATION_FILE.write(CALIBRATION_FILE.path(checkpoint), stored)
    CALIBRATION_FILE.write(tmp_path / "other.json", stored)
    assert read("stored", digest="ab").name == "stored: ts"
    with pytest.raises(UserError, match="was fitted to another checkpoint"):
        read("stored", digest="cd")
    elsewhere = read(str(tmp_path / "other.json"), digest="cd")
    assert elsewhere.name == "file other.json: ts"
    assert elsewhere.in_words.startswith("calibrated first (file other.json: ts), as fitted to 800 images")
    with pytest.raises(UserError, match="was not fitted to the averaged weights"):
        elsewhere.of("averaged")
    with pytest.raises(UserError, match="is for 4 classes, and here are 5"):
        read_choice(str(tmp_path / "other.json"), checkpoint=checkpoint, digest="cd", num_classes=5)
    assert AppliedCalibration().of("averaged").covers("anything")

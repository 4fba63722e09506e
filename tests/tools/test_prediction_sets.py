"""`python -m tools.prediction_sets`, and the sets that `tools.predict --sets` makes of it, with what it promises."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom

from model.calibration import softmax
from model.prediction_sets import LabelScores, fit_sets
from tests.data_loader.image_trees import digit_picture, save_picture
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, posteriors, uniform
from tests.scripts.command_line import Shell
from tests.tools.run_on_jpegs import jpegs
from tests.trainer.small_runs import run, small_config
from trainer.config.run_config import run_config
from trainer.evaluation.priors import NONE, PRIORS, FoundPrior, TestPrior
from trainer.inference.answered_sets import AnsweredSets, answered_sets
from trainer.inference.answers import Answers
from trainer.inference.sets_command import require_unseen
from trainer.inference.stored_sets import SETS_FILE, StoredSets, stored_sets
from utils.config.parser import ConfigParser
from utils.errors import UserError
from utils.files.checkpoint import file_digest

CLASSES = 6
TAIL = long_tail(CLASSES, 30)
MIXTURE = GaussianMixture(CLASSES, spread=0.9, dimensions=4)
NAMES = [f"class {label}" for label in range(CLASSES)]
NAMES_OF_JPEGS = ("apple", "birch", "cedar")


def kept(folder: Path, size: int) -> tuple[Path, StoredSets]:
    """Sets of exact posteriors of images from a long tail, written and read back."""
    logits, labels = MIXTURE.draw(TAIL, size, seed=1)
    checkpoint = folder / "model.pth"
    scores = LabelScores.of(posteriors(logits), labels)
    SETS_FILE.write(SETS_FILE.path(checkpoint), StoredSets("model.pth", "1" * 64, f"{size} images", {"raw": scores}))
    return checkpoint, stored_sets(checkpoint, "1" * 64, CLASSES)


def answered(
    stored: StoredSets, frequencies: np.ndarray, size: int, prior: TestPrior
) -> tuple[AnsweredSets, np.ndarray]:
    logits, labels = MIXTURE.draw(frequencies, size, seed=2)
    home = posteriors(logits)
    found = None if prior is NONE else FoundPrior(frequencies)
    answers = Answers(["a"] * size, [], home, home, home[:, np.newaxis], NAMES, found)
    return answered_sets(answers, stored, weights="raw", alpha=0.1, prior=prior, calibrated=False), labels


@pytest.mark.parametrize("shifted", [False, True])
def test_exchangeable_images_are_covered_as_promised(tmp_path: Path, shifted: bool):
    held_out, tests = 400, 2000
    stored = kept(tmp_path, held_out)[1]
    written = replace(PRIORS["known"], name="file p.csv")
    sets, labels = answered(stored, uniform(CLASSES) if shifted else TAIL, tests, prior=written if shifted else NONE)
    covered = sets.members[np.arange(tests), labels].sum()
    images = round(sets.sets.effective_images)  # with weights, the interval is an approximation
    rank = int(np.ceil((images + 1) * 0.9))
    low, high = betabinom.ppf([0.025, 0.975], tests, rank, images + 1 - rank)
    assert low <= covered <= high
    told = " ".join(sets.promise)
    assert "at least 90 % of the sets of images" in told
    assert ("drawn like these, with their class frequencies" in told) != shifted
    assert (f"count as {sets.sets.effective_images:.1f} of equal weight" in told) == shifted
    assert ("the file p.csv says" in told) == shifted
    assert "estimate" not in told


def test_an_estimated_prior_promises_no_more_than_the_estimate(tmp_path: Path):
    sets, _ = answered(kept(tmp_path, 60)[1], uniform(CLASSES), 5, prior=PRIORS["auto"])
    assert "the frequencies are an estimate, and the promise is worth no more than that is" in sets.promise


def test_too_few_images_for_an_alpha_make_every_set_have_every_class_and_that_is_said(tmp_path: Path):
    sets, _ = answered(kept(tmp_path, 8)[1], TAIL, 5, prior=NONE)
    assert sets.members.all()
    assert sets.promise[-1].endswith("too few held-out images for this α, which takes 9 at least")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has held images out, and averages its weights."""
    folder = tmp_path_factory.mktemp("run")
    averaged = {"type": "EMA", "args": {"decay": 0.5}}
    run(folder, small_config(trainer__epochs=1, data_loader__args__validation_split=0.3, method=averaged))
    return folder / "checkpoint-epoch1.pth"


def test_held_out_images_of_the_run_are_what_sets_are_made_of(digits: Path, shell: Shell, tmp_path: Path):
    save_picture(tmp_path / "a.jpg", digit_picture(0, 0))
    missing = shell("tools.predict", digits, tmp_path, "--sets")
    assert (missing.code, missing.err.count("make it: python -m tools.prediction_sets")) == (2, 1)
    ended = shell("tools.prediction_sets", digits)
    assert ended.code == 0, ended.err
    assert f"Written to {SETS_FILE.path(digits)}" in ended.out
    with np.load(digits.with_name("checkpoint-epoch1.validation.predictions.npz")) as held_out:
        labels = held_out["targets"]
        probabilities = {
            weights: softmax(held_out[f"logits_{weights}"].astype(np.float64).mean(axis=1))
            for weights in ("raw", "averaged")
        }
    assert f"{len(labels)} labelled images held out from training" in ended.out
    stored = stored_sets(digits, file_digest(digits), 10)
    assert set(stored.by_weights) == set(probabilities)
    for weights, values in probabilities.items():
        found, direct = stored.of(weights).sets(alpha=0.2), fit_sets(values, labels, alpha=0.2)
        np.testing.assert_allclose(found.thresholds, direct.thresholds, rtol=1e-5)
        np.testing.assert_array_equal(found.held_out_counts, np.bincount(labels, minlength=10))
    with pytest.raises(UserError, match="was not fitted to the best weights"):
        stored.of("best")


def test_nothing_held_out_is_one_line_that_says_how_to(shell: Shell, tmp_path: Path):
    run(tmp_path, small_config(trainer__epochs=1))
    ended = shell("tools.prediction_sets", tmp_path / "checkpoint-epoch1.pth")
    assert (ended.code, ended.out) == (2, "")
    assert "hold some out when you train, with data_loader.args.validation_split=0.1" in ended.err.splitlines()[-1]
    assert not list(tmp_path.glob("*.sets.json"))


@pytest.mark.parametrize(
    ("changes", "checkpoint", "refused"),
    [
        ({}, "model_best.pth", False),  # nobody has looked at them
        ({"validate": True, "monitor": "off"}, "checkpoint-epoch1.pth", False),
        ({"validate": True, "monitor": "max val_accuracy"}, "model_best.pth", True),
        ({"validate": True, "monitor": "max val_accuracy"}, "checkpoint-epoch1.pth", True),  # training ended early?
        ({"validate": True, "monitor": "max val_accuracy"}, "checkpoint-epoch2.pth", False),  # as planned
    ],
)
def test_images_that_chose_the_epoch_are_refused(changes: dict[str, object], checkpoint: str, refused: bool):
    changed = {f"trainer__{name}": value for name, value in changes.items()}
    config = run_config(ConfigParser(small_config(**changed), source="a test"))
    if refused:
        with pytest.raises(UserError, match="the held-out images chose the epoch"):
            require_unseen(config, Path(checkpoint))
    else:
        require_unseen(config, Path(checkpoint))


def test_other_labelled_images_serve_and_those_of_the_training_do_not(made: Path, shell: Shell, tmp_path: Path):
    shutil.copytree(made / "run", tmp_path / "run")
    checkpoint, folder = tmp_path / "run" / "model.pth", tmp_path / "more"
    ended = shell("tools.prediction_sets", checkpoint, "--labelled", made / "data")
    assert ended.code == 2
    assert "images were used in training, by their contents" in ended.err
    for label, name in enumerate(NAMES_OF_JPEGS):
        for number in range(12):
            save_picture(folder / name / f"{number}.jpg", digit_picture(label, 100 + number))
    ended = shell("tools.prediction_sets", checkpoint, "--labelled", folder)
    assert ended.code == 0, ended.err
    assert f"36 labelled images of {folder}, 12 to 12 a class" in ended.out

    images, out = jpegs(made, 6), tmp_path / "out.json"
    flags = ("--sets", 0.4, "--out", out, "--topk", 3)
    plain = shell("tools.predict", checkpoint, *images, *flags)
    assert plain.code == 0, plain.err
    assert "prediction sets, α = 0.4, from 36 labelled images" in plain.out
    rows = json.loads(out.read_text())["predictions"]
    sets = stored_sets(checkpoint, file_digest(checkpoint), 3).of("raw").sets(alpha=0.4)
    for row in rows:
        by_name = {row[f"class{suffix}"]: row[f"probability{suffix}"] for suffix in ("", " 2", " 3")}
        (members,) = sets.of(np.array([[by_name[name] for name in NAMES_OF_JPEGS]]))
        assert set(row["set"]) == {name for name, inside in zip(NAMES_OF_JPEGS, members, strict=True) if inside}
        assert row["set size"] == len(row["set"])
        assert row["set"] == [name for name in by_name if name in row["set"]]  # the likeliest first

    table = tmp_path / "out.csv"
    flags = ("--sets", 0.4, "--out", table, "--calibration", "stored")
    calibrated = shell("tools.predict", checkpoint, *images, *flags)
    assert "the sets are of the probabilities before the calibration" in calibrated.out
    found = pd.read_csv(table, keep_default_na=False)
    assert [set(text.split("; ")) for text in found["set"]] == [set(row["set"]) or {""} for row in rows]


def test_files_that_are_something_else_are_refused(tmp_path: Path):
    checkpoint, _ = kept(tmp_path, 20)
    path = SETS_FILE.path(checkpoint)
    content = json.loads(path.read_text())
    with pytest.raises(UserError, match="was fitted to another checkpoint"):
        stored_sets(checkpoint, "2" * 64, CLASSES)
    with pytest.raises(UserError, match="holds no prediction sets of 7 classes"):
        stored_sets(checkpoint, "1" * 64, 7)
    for text in (
        "[]",
        "{}",
        json.dumps(content | {"format": "prediction sets 2"}),
        json.dumps(content | {"weights": {}}),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match="holds no prediction sets"):
            stored_sets(checkpoint, "1" * 64, CLASSES)
    path.write_text("{")
    with pytest.raises(UserError, match="can't be read as prediction sets"):
        stored_sets(checkpoint, "1" * 64, CLASSES)

"""The page on notebooks: its code runs, from the top to the bottom, and says what the scripts say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from tests.scripts.command_line import ROOT, Shell
from tests.trainer.small_runs import run as train
from tests.trainer.small_runs import small_config
from trainer.evaluation.results import results_table
from trainer.inference.run_scores import RunScores, compare_shifts
from trainer.inference.trained_run import TrainedRun, as_prior
from utils.errors import UserError
from utils.files.writing import write_bytes

PAGE = (ROOT / "docs/notebooks.md").read_text(encoding="utf8")
CELLS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run of digits in `RUN`, and two of its images."""
    from PIL import Image  # noqa: PLC0415 - of this fixture alone

    folder = tmp_path_factory.mktemp("notebook")
    train(folder / "RUN", small_config(trainer__epochs=1))
    for name, pixels in zip("ab", load_digits().images[:2], strict=True):
        Image.fromarray((pixels * 15).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def loaded(here: Path) -> TrainedRun:
    return TrainedRun.load(here / "RUN")


def test_the_pages_code_runs(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(here)
    names: dict[str, Any] = {}
    for cell in CELLS:
        exec(compile(cell, "docs/notebooks.md", "exec"), names)
    assert (here / "classes.png").read_bytes().startswith(b"\x89PNG")
    assert names["answers"].probabilities.shape == (50, 10)
    assert "without knowledge of the test prior" in capsys.readouterr().out
    assert {row["prior"] for row in names["known"].rows} == {"known"}
    low, high = names["mine"].rows[0]["intervals"]["accuracy"]
    assert low <= names["mine"].rows[0]["accuracy"] <= high
    assert isinstance(compare_shifts({"a": names["unknown"], "b": names["known"]}), Figure)


@pytest.fixture(scope="module")
def scores(loaded: TrainedRun) -> RunScores:
    return loaded.evaluate()


def test_scores_are_those_of_the_script(loaded: TrainedRun, scores: RunScores, shell: Shell) -> None:
    ended = shell("test.py", "-r", loaded.checkpoint)
    assert ended.code == 0, ended.err
    assert results_table(scores.rows, first="predictor") in ended.out


def test_accuracies_of_classes_average_to_the_balanced_one(loaded: TrainedRun, scores: RunScores) -> None:
    lines = scores.class_lines()
    assert [line.trained for line in lines] == loaded.class_counts
    assert sum(line.tested for line in lines) == scores.rows[0]["images"]
    balanced = np.mean([line.accuracy for line in lines])
    assert scores.rows[0]["balanced_accuracy"] == pytest.approx(balanced)
    assert all(line.low - 1e-9 <= line.accuracy <= line.high + 1e-9 for line in lines)
    assert {len(line.experts) for line in lines} == {2}
    with pytest.raises(UserError, match="forward9: was not evaluated; there are uniform"):
        scores.class_lines("forward9")


def test_pixels_and_their_files_have_the_same_answers(here: Path, loaded: TrainedRun) -> None:
    grey = (load_digits().images[:2] * 15).astype(np.uint8)
    files = loaded.predict([here / "a.png", here / "b.png"])
    for pixels in (grey, np.repeat(grey[..., None], 3, axis=-1)):
        answers = loaded.predict(pixels)
        np.testing.assert_array_equal(answers.probabilities, files.probabilities)
        assert (answers.files, answers.unreadable) == (["0", "1"], [])


def test_a_given_prior_multiplies_the_odds(here: Path, loaded: TrainedRun) -> None:
    """The run is at home on the uniform prior, its mean τ being 1; only proportions matter."""
    weights = dict(zip(loaded.class_names, np.arange(1.0, 11.0), strict=True))
    plain, given = (loaded.predict([here / "a.png"], prior=prior).probabilities for prior in ("none", weights))
    expected = plain * np.arange(1.0, 11.0)
    np.testing.assert_allclose(given, expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize("pixels", [np.zeros((2, 8, 8)), np.zeros((8, 8), np.uint8), np.zeros((1, 3, 8, 8), np.uint8)])
def test_other_arrays_are_refused(loaded: TrainedRun, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected pixels as uint8 \[N, H, W, 3\] or \[N, H, W\]; got "):
        loaded.predict(pixels)


def test_mistakes_are_one_line(here: Path, loaded: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, told in ((tmp_path / "empty", "holds no checkpoint"), (tmp_path / "none", "no such run, nor a check")):
        with pytest.raises(UserError, match=told):
            TrainedRun.load(path)
    with pytest.raises(UserError, match="prior known: needs labelled images"):
        loaded.predict([here / "a.png"], prior="known")
    with pytest.raises(UserError, match="prior: there is no class 'x'"):
        loaded.predict([here / "a.png"], prior={**dict.fromkeys(loaded.class_names, 1.0), "x": 1.0})
    with pytest.raises(UserError, match="numbers of 0 or more"):
        loaded.predict([here / "a.png"], prior=dict.fromkeys(loaded.class_names, -1.0))
    assert as_prior(as_prior("auto")) is as_prior("auto")


def test_a_run_has_its_best_checkpoint_where_there_is_one(loaded: TrainedRun, tmp_path: Path) -> None:
    assert loaded.checkpoint.name == "checkpoint-epoch1.pth"
    for name in ("checkpoint-epoch1.pth", "model_best.pth"):
        write_bytes(tmp_path / name, b"")
    assert TrainedRun.load(tmp_path).checkpoint.name == "model_best.pth"

"""`python -m tools.score`: a run's own rows from its kept logits, other programs' files, every mistake in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.odd_files import ODD_KINDS, put_odd
from tests.scripts.command_line import Ended, Shell, files_below
from tests.trainer.small_runs import run, small_config
from trainer.evaluation.scoring import correct, score

LADDER = ("forward2", "uniform", "backward2")
NAMES = ["cat", "dog", "eel"]
POSTERIORS = np.random.default_rng(5).dirichlet([1, 1, 1], size=60)
LABELS = np.random.default_rng(6).integers(3, size=60)
KNOWN: tuple[object, ...] = ("--kind", "probabilities", "--home", "uniform")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["results"]
    return rows


def fuzzy(value: Any) -> Any:
    """Equal to what is the same but for rounding."""
    if isinstance(value, dict):
        return {name: fuzzy(entry) for name, entry in value.items()}
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(number, str | None) for number in numbers):
        return value
    return pytest.approx(value, rel=1e-4, abs=1e-6)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with predictions, labels and counts in it."""
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", POSTERIORS)
    np.save("y.npy", LABELS)
    pd.DataFrame(POSTERIORS, columns=NAMES).to_csv("p.csv", index=False)
    Path("y.csv").write_text("".join(f"{NAMES[label]}\n" for label in LABELS))
    Path("counts.csv").write_text("eel,3\ncat,120\ndog,40\n")
    np.savez("several.npz", p=POSTERIORS, y=LABELS)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of two experts, with its class counts and the inverse of its prior beside it."""
    folder = tmp_path_factory.mktemp("run")
    content = run(folder, small_config(trainer__epochs=1))
    counts = np.asarray(content["class_counts"])
    (folder / "counts.json").write_text(json.dumps(counts.tolist()))
    (folder / "inverse.json").write_text(json.dumps((1 / counts / (1 / counts).sum()).tolist()))
    return folder


@pytest.mark.parametrize("prior", ["none", "known", "em", "tilt"])
def test_its_rows_are_the_runs_own(folder: Path, prior: str, shell: Shell, tmp_path: Path) -> None:
    checkpoint, kept = folder / "checkpoint-epoch1.pth", folder / "checkpoint-epoch1.predictions.npz"
    (folder / "results.json").unlink(missing_ok=True)
    for script, *flags in (["test.py"], ["test_all_cifar.py", "--distributions", *LADDER]):
        assert shell(script, "-r", checkpoint, "--prior", prior, *flags).code == 0
    given = ("--key", "logits_raw", "--labels", kept, "--labels-key", "targets", "--kind", "logits")
    homes = ("--home", "train", "--home", folder / "inverse.json", "--train-counts", folder / "counts.json")
    for flags in ([], ["--distributions", *LADDER]):
        ended = shell("tools.score", kept, *given, *homes, "--prior", prior, *flags, "--out", tmp_path / "out")
        assert (ended.code, ended.err) == (0, "")
    expected, found = rows_of(folder), rows_of(tmp_path / "out")
    assert len(found) == len(expected) == 3 + len(LADDER)
    for ours, theirs in zip(found, expected, strict=True):
        del ours["checkpoint"], ours["data"], theirs["checkpoint"], theirs["data"], theirs["trained_on"]
        if prior == "none":
            assert ours == theirs
        else:  # the home priors were written down, rounded
            assert {name: fuzzy(value) for name, value in ours.items()} == theirs


def test_names_and_arrays_give_the_same(files: Path, shell: Shell) -> None:
    by_name = shell("tools.score", "p.csv", "--labels", "y.csv", *KNOWN, "--train-counts", "counts.csv", "--out", "a")
    assert (by_name.code, by_name.err) == (0, "")
    assert "trained on 163 images, 120 to 3 a class" in by_name.out
    (row,) = rows_of(Path("a"))
    (expected,) = score(
        POSTERIORS, LABELS, kind="probabilities", home="uniform", training_counts=[120, 40, 3], source="p.csv"
    )
    assert row == expected
    for source in (["p.npy", "--labels", "y.npy"], ["several.npz", "--key", "p", "--labels", "several.npz"]):
        key = ["--labels-key", "y"] if "--key" in source else []
        assert shell("tools.score", *source, *key, *KNOWN, "--out", "b").code == 0
    (first, second) = rows_of(Path("b"))
    assert first["accuracy"] == second["accuracy"] == row["accuracy"]


def test_rows_of_other_labels_stand_beside_the_first_and_the_same_are_replaced(files: Path, shell: Shell) -> None:
    np.save("others.npy", LABELS[::-1])
    for labels in ("y.npy", "others.npy", "y.npy", "y.csv", "others.npy"):
        assert shell("tools.score", "p.csv", "--labels", labels, *KNOWN, "--out", "a").code == 0
    first, second = rows_of(Path("a"))
    assert (first["accuracy"], second["accuracy"]) == (
        (POSTERIORS.argmax(axis=1) == LABELS).mean(),
        (POSTERIORS.argmax(axis=1) == LABELS[::-1]).mean(),
    )
    assert first["data"] != second["data"]
    assert pd.read_csv("a/results.csv")["data"].tolist() == [first["data"], second["data"]]


def test_labels_may_be_indices_or_words_with_a_header(files: Path, shell: Shell) -> None:
    told = shell("tools.score", "p.csv", "--labels", "y.csv", *KNOWN).out
    assert "cat " in told
    Path("y.csv").write_text("label\n" + Path("y.csv").read_text())
    assert shell("tools.score", "p.csv", "--labels", "y.csv", *KNOWN).out == told
    Path("y.csv").write_text("label\n" + "".join(f"{label}\n" for label in LABELS))
    assert shell("tools.score", "p.csv", "--labels", "y.csv", *KNOWN).out == told
    pd.Series(LABELS, name="label").to_csv("y.csv")
    assert shell("tools.score", "p.csv", "--labels", "y.csv", *KNOWN).out == told


def test_classes_may_be_called_by_numbers_that_are_no_indices(files: Path, shell: Shell) -> None:
    pd.DataFrame(POSTERIORS, columns=[1, 2, 3]).to_csv("p.csv", index=False)
    np.save("y.npy", LABELS + 1)
    assert shell("tools.score", "p.csv", "--labels", "y.npy", *KNOWN, "--out", "a").code == 0
    assert rows_of(Path("a"))[0]["accuracy"] == (POSTERIORS.argmax(axis=1) == LABELS).mean()


def test_without_labels_there_are_the_prior_and_the_predictions(files: Path, shell: Shell) -> None:
    ended = shell("tools.score", "p.csv", *KNOWN, "--prior", "em", "--out", "out")
    assert (ended.code, ended.err) == (0, "")
    assert "Without labels nothing can be said of accuracy" in ended.out
    found = correct(POSTERIORS, kind="probabilities", home="uniform", prior="em")
    assert found.found is not None
    assert found.found.interval is not None
    prior, predictions = pd.read_csv("out/test_prior.csv"), pd.read_csv("out/predictions.csv")
    assert prior["class"].tolist() == NAMES
    for column, values in zip(["prior", "low", "high"], [found.found.prior, *found.found.interval], strict=True):
        assert prior[column].to_numpy() == pytest.approx(values, rel=1e-12)
    assert predictions["class"].tolist() == [NAMES[place] for place in found.logits.argmax(axis=1)]
    assert predictions["class before"].tolist() == [NAMES[place] for place in POSTERIORS.argmax(axis=1)]
    corrected = POSTERIORS * found.found.prior
    expected = (corrected / corrected.sum(axis=1, keepdims=True)).max(axis=1)
    assert predictions["confidence"].to_numpy() == pytest.approx(expected, rel=1e-6)
    assert sorted(path.name for path in Path("out").iterdir()) == ["predictions.csv", "test_prior.csv"]


def test_without_labels_the_estimator_follows_from_what_is_known(files: Path, shell: Shell) -> None:
    assert "by MAP-EM" in shell("tools.score", "p.csv", *KNOWN).out
    assert "π_train^γ" in shell("tools.score", "p.csv", *KNOWN, "--train-counts", "counts.csv").out


def test_a_prior_of_a_file_is_not_estimated(files: Path, shell: Shell) -> None:
    Path("prior.csv").write_text("cat,0.5\ndog,0.5\neel,0\n")
    ended = shell("tools.score", "p.csv", *KNOWN, "--prior", "prior.csv", "--out", "out")
    assert ended.code == 0
    assert Path("out/test_prior.csv").read_text() == "class,prior\ncat,0.5\ndog,0.5\neel,0.0\n"
    assert "eel" not in set(pd.read_csv("out/predictions.csv")["class"])
    assert "home" not in ended.err


def test_held_out_images_of_files_are_those_of_arrays(files: Path, shell: Shell) -> None:
    np.savez("other.npz", p=POSTERIORS[::-1] ** 2 / (POSTERIORS[::-1] ** 2).sum(axis=1, keepdims=True), y=LABELS[::-1])
    keys = ("--key", "p", "--labels-key", "y", "--held-out", "other.npz", "--held-out-labels", "other.npz")
    given = ("several.npz", "--labels", "several.npz", *KNOWN, *keys, "--calibration", "bcts", "--prior", "rlls")
    ended = shell("tools.score", *given, "--out", "out")
    assert (ended.code, ended.err) == (0, "")
    assert "calibrated first (fitted: bcts), as fitted to 60 held-out images" in ended.out
    assert "ECE before %" in ended.out
    with np.load("other.npz") as other:
        held_out = (other["p"], other["y"])
    chosen: dict[str, Any] = {"kind": "probabilities", "home": "uniform", "held_out": held_out, "calibration": "bcts"}
    (expected,) = score(POSTERIORS, LABELS, prior="rlls", source="several.npz", **chosen)
    assert rows_of(Path("out")) == [expected]


def test_nothing_is_written_without_being_asked_for(files: Path, shell: Shell) -> None:
    before = files_below(files)
    assert shell("tools.score", "p.csv", *KNOWN).code == 0
    assert shell("tools.score", "p.csv", "--labels", "y.csv", *KNOWN).code == 0
    assert files_below(files) == before


def test_experts_without_homes_are_left_out_with_a_line(files: Path, shell: Shell) -> None:
    np.save("e.npy", np.stack([POSTERIORS, POSTERIORS], axis=1))
    told = shell("tools.score", "e.npy", "--labels", "y.npy", *KNOWN, "--prior", "known").out
    assert "The experts alone are left out" in told
    told = shell("tools.score", "e.npy", "--labels", "y.npy", *KNOWN, "--home", "uniform", "--prior", "known").out
    assert "expert 1" in told
    assert "left out" not in told


def test_probabilities_that_are_called_logits_are_asked_about(files: Path, shell: Shell) -> None:
    ended = shell("tools.score", "p.npy", "--labels", "y.npy", "--kind", "logits", "--home", "uniform")
    assert ended.code == 0
    assert "warning: p.npy: every row is at least 0 with the sum 1: --kind probabilities?" in ended.err


MISTAKES: list[tuple[list[object], str]] = [
    (["p.npy", "--home", "uniform"], "the following arguments are required: --kind"),
    (["p.npy", "--kind", "logits"], "the following arguments are required: --home"),
    (["p.npy", "--kind", "logit", "--home", "uniform"], "argument --kind: invalid choice: 'logit'"),
    (["nowhere.npy", *KNOWN], "nowhere.npy: no such file of logits"),
    (["p.txt", *KNOWN], "p.txt: a file of logits ends with .npy, .npz, .csv, .parquet"),
    (["several.npz", *KNOWN], "several.npz: holds several arrays; name one with --key: p, y"),
    (["p.csv", *KNOWN, "--key", "p"], "p.csv: --key names an array of a .npz file, and this is none"),
    (["several.npz", "--key", "y", *KNOWN], "several.npz: expected the shape [images, classes]"),
    (["p.npy", "--labels", "short.npy", *KNOWN], "short.npy: 59 labels for 60 images"),
    (
        ["p.npy", "--labels", "large.npy", *KNOWN],
        "is no class; the labels are 0 … 2",
    ),
    (["p.npy", "--labels", "y.csv", *KNOWN], "y.csv: the labels are words, and the classes have no names"),
    (
        ["p.csv", "--labels", "odd.csv", *KNOWN],
        "odd.csv: image 1 (counted from 0): 'dgo' is no class; did you mean 'dog'?",
    ),
    (["p.npy", "--labels", "several.npz", *KNOWN], "name one with --labels-key: p, y"),
    (["negative.npy", "--kind", "probabilities", "--home", "uniform"], "negative.npy: image 0 (counted from 0): -"),
    (["p.csv", "--kind", "logits", "--home", "train"], "--home train: needs the training images of each class"),
    (
        ["p.csv", "--kind", "logits", "--home", "trian"],
        "--home trian: give uniform, train or a CSV or JSON file; did you",
    ),
    (["p.csv", "--kind", "logits", "--home", "counts.csv"], "counts.csv: the priors add up to 163"),
    (["p.csv", *KNOWN, "--home", "uniform"], "--home: 2 home priors for 1 experts"),
    (["p.csv", *KNOWN, "--train-counts", "half.csv"], "half.csv: 'cat' has 0.5 images; give whole numbers from 0"),
    (["p.csv", *KNOWN, "--train-counts", "none.csv"], "none.csv: no class has an image"),
    (["p.csv", *KNOWN, "--train-counts", "two.csv"], "two.csv: 1 of 3 classes are missing: eel"),
    (["p.csv", *KNOWN, "--prior", "known"], "--prior known: without --labels, give an estimator"),
    (["p.csv", *KNOWN, "--prior", "tilt"], "--prior tilt: tilt needs training_prior"),
    (
        ["p.csv", "--labels", "y.csv", *KNOWN, "--prior", "bbse"],
        "--prior bbse: needs labelled images that were held out",
    ),
    (["p.csv", *KNOWN, "--held-out", "p.npy"], "--held-out and --held-out-labels need each other"),
    (["p.csv", *KNOWN, "--calibration", "ts"], "--calibration ts: is fitted to labelled images that were held out"),
    (["p.csv", *KNOWN, "--calibration", "tss"], "--calibration tss: give none, ts, bcts, vs, sts or a JSON file"),
    (["p.csv", *KNOWN, "--calibration", "nowhere.json"], "nowhere.json: no such calibration"),
    (
        ["p.csv", *KNOWN, "--held-out", "two.npy", "--held-out-labels", "y.npy"],
        "two.npy: held-out images have other experts or classes than the test images",
    ),
    (["p.csv", "--labels", "y.csv", *KNOWN, "--prior", "emm"], "--prior emm: give none, "),
    (["p.csv", *KNOWN, "--distributions", "uniform"], "--distributions: needs labels, too: --labels FILE"),
    (["p.csv", *KNOWN, "--labels-key", "y"], "--labels-key: needs labels, too"),
    (["p.csv", "--labels", "y.csv", *KNOWN, "--distributions", "upward2"], "'upward2': there is none of this name"),
    (["p.csv", "--labels", "y.csv", *KNOWN, "--distributions", "forward2"], "follows the training frequencies"),
    (["p.csv", "--labels", "y.csv", *KNOWN, "--out", "p.npy"], "--out p.npy: can't make the folder"),
]


@pytest.mark.parametrize(("arguments", "told"), MISTAKES, ids=lambda value: value if isinstance(value, str) else "")
def test_mistakes_are_one_line_and_leave_nothing(arguments: list[object], told: str, files: Path, shell: Shell) -> None:
    np.save("short.npy", LABELS[1:])
    np.save("large.npy", LABELS + 3)
    np.save("two.npy", POSTERIORS[:, :2] / POSTERIORS[:, :2].sum(axis=1, keepdims=True))
    np.save("negative.npy", POSTERIORS - 1)
    Path("odd.csv").write_text("\n".join(["cat", "dgo", *["eel"] * 58]))
    Path("half.csv").write_text("cat,0.5\ndog,1\neel,1\n")
    Path("none.csv").write_text("cat,0\ndog,0\neel,0\n")
    Path("two.csv").write_text("cat,5\ndog,1\n")
    before = files_below(files)
    ended: Ended = shell("tools.score", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert told in ended.err
    assert files_below(files) == before


@pytest.mark.parametrize("kind", ODD_KINDS)
@pytest.mark.parametrize("name", ["odd.npy", "odd.csv"])
def test_what_is_no_file_is_one_line(kind: str, name: str, files: Path, shell: Shell) -> None:
    put_odd(Path(name), kind)
    for arguments in ([name], ["p.npy", "--labels", name], ["p.npy", "--train-counts", name]):
        ended = shell("tools.score", *arguments, *KNOWN)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert ODD_KINDS[kind] in ended.err


def test_the_help_teaches_with_examples(shell: Shell) -> None:
    said = shell("tools.score", "--help").out
    assert said.count("  python -m tools.score ") >= 4
    assert "--kind probabilities   at least 0" in said

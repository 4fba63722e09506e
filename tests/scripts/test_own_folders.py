"""A user's folder changes between training and evaluation: nothing is read under another label or split anew."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data_loader.image_trees import write_user_folder
from tests.scripts.command_line import Shell
from tests.scripts.test_file_data_sets import OWN_IMAGES, QUICK, SMALL
from utils.files.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("_quick_throughout")

FLAGS = (*SMALL, *QUICK, "--epochs", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `trained` keeps for the next test."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def trained(folder: Path, shell: Shell) -> tuple[Path, Path]:
    """The folder of images, and the checkpoint of the first of two epochs.

    They are trained on once. A run names its folders, so each test finds the same place, filled anew: with the times
    of change as well, by which images are known.
    """
    place, kept = folder / "place", folder / "kept"
    if kept.exists():
        shutil.rmtree(place)
        shutil.copytree(kept, place)
    else:
        write_user_folder(place / "data", broken=False)
        flags = (*FLAGS, "--data_dir", place / "data", "--save_dir", place / "saved", "--save_period", 1)
        assert shell("train.py", "-c", OWN_IMAGES, *flags).code == 0
        shutil.copytree(place, kept)
    (checkpoint,) = (place / "saved").glob("models/*/*/checkpoint-epoch1.pth")
    return place / "data", checkpoint


def whole_split(checkpoint: Path, place: int = 0) -> dict[str, Any]:
    """The row of the first data that were tested, or those of another place."""
    rows = json.loads((checkpoint.parent / "results.json").read_text(encoding="utf8"))["results"]
    return [row for row in rows if (row["predictor"], row["distribution"]) == ("ensemble", "as split")][place]


def rename(data: Path) -> None:
    (data / "apple").rename(data / "zapple")


def lose(data: Path) -> None:
    shutil.rmtree(data / "birch")


def gain(data: Path) -> None:
    shutil.copytree(data / "birch", data / "beech")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (rename, "no folder of apple; new: zapple; did you mean 'apple'?"),
        (lose, "no folder of birch"),
        (gain, "new: beech"),
    ],
)
def test_classes_that_are_not_the_runs_are_told_by_name(
    trained: tuple[Path, Path], shell: Shell, change: Callable[[Path], None], told: str
) -> None:
    data, checkpoint = trained
    change(data)
    before = set(checkpoint.parent.rglob("*"))
    for ended in (shell("test.py", "-r", checkpoint), shell("train.py", "-r", checkpoint)):
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert f"the class folders are not the run's ({told}); name them as they were" in ended.err
    assert set(checkpoint.parent.rglob("*")) == before


def test_a_folder_that_has_gained_images_is_not_split_anew(trained: tuple[Path, Path], shell: Shell) -> None:
    data, checkpoint = trained
    assert shell("test.py", "-r", checkpoint).code == 0
    before = whole_split(checkpoint)
    for number in range(30):
        shutil.copy(data / "cedar" / "cedar_00.jpg", data / "birch" / f"a{number}.jpg")
    (checkpoint.parent / "checkpoint-epoch1.predictions.npz").unlink()
    ended = shell("test.py", "-r", checkpoint)
    assert ended.code == 0
    assert "30 images are new since the run was split, and are left aside" in ended.err + ended.out
    assert whole_split(checkpoint) == before

    undisturbed = load_checkpoint(checkpoint.with_name("checkpoint-epoch2.pth"))["state_dict"]
    checkpoint.with_name("checkpoint-epoch2.pth").unlink()
    assert shell("train.py", "-r", checkpoint).code == 0
    continued = load_checkpoint(checkpoint.with_name("checkpoint-epoch2.pth"))["state_dict"]
    assert all(bool((undisturbed[name] == continued[name]).all()) for name in undisturbed)


def test_images_that_were_overwritten_are_not_answered_from_predictions_of_before(
    trained: tuple[Path, Path], shell: Shell
) -> None:
    data, checkpoint = trained
    assert shell("test.py", "-r", checkpoint).code == 0
    before = logits_of(checkpoint)
    frozen = (checkpoint.parent / "split" / "test.txt").read_text(encoding="utf8").splitlines()
    pictures = [data / line.rpartition(" ")[0] for line in frozen]
    for picture in pictures:
        os.utime(picture, ns=(0, 0))  # as a copy has it
    assert "no need to run the network again" in shell("test.py", "-r", checkpoint).out

    random = np.random.default_rng(0)
    for picture in pictures:
        noise = random.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(picture, "PNG")
    ended = shell("test.py", "-r", checkpoint)
    assert ended.code == 0
    assert "is of other images than there are now: the network runs again" in ended.out
    of_noise = logits_of(checkpoint)
    assert (of_noise != before).any(axis=(1, 2)).all()
    rows = json.loads((checkpoint.parent / "results.json").read_text(encoding="utf8"))["results"]
    pictures_then, noise_now = dict.fromkeys(row["data"] for row in rows)
    assert [name.split()[0] for name in (pictures_then, noise_now)] == ["data", "data"]
    assert [row["data"] for row in rows].count(pictures_then) == len(rows) // 2

    checkpoint.with_name("checkpoint-epoch1.predictions.npz").unlink()
    assert shell("test.py", "-r", checkpoint).code == 0
    assert (logits_of(checkpoint) == of_noise).all()


def test_images_that_were_trained_on_are_refused_or_counted_in_every_row(
    trained: tuple[Path, Path], shell: Shell, tmp_path: Path
) -> None:
    """In another folder, under other names; of the run's own split none was trained on."""
    data, checkpoint = trained
    assert shell("test.py", "-r", checkpoint).code == 0
    assert whole_split(checkpoint)["trained_on"] == 0
    other, tested = tmp_path / "other", list[str]()
    for part in ("train", "test"):
        frozen = (checkpoint.parent / "split" / f"{part}.txt").read_text(encoding="utf8").splitlines()
        tested += [line.rpartition(" ")[0] for line in frozen][: 10 if part == "train" else None]
    for number, path in enumerate(tested):
        (other / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / path, other / path.replace(".", f"_{number}."))
    shutil.rmtree(data)
    config = json.loads((checkpoint.parent / "config.json").read_text(encoding="utf8"))
    config["data_loader"]["args"]["data_dir"] = str(other)
    (tmp_path / "other.json").write_text(json.dumps(config), encoding="utf8")

    flags = ("-c", tmp_path / "other.json", "-r", checkpoint)
    for _ in range(2):  # the second time it is known
        refused = shell("test.py", *flags)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert f"10 of {len(tested)} test images were trained on, by their contents: apple/apple_" in refused.err
        assert "or give --allow-trained to count them in" in refused.err
        assert whole_split(checkpoint)["images"] == len(tested) - 10, "the rows of the run's own split are as before"
        counted = shell("test_all_imagenet.py", *flags, "--allow-trained")
        assert counted.code == 0, counted.err
        assert f"warning: 10 of {len(tested)} test images were trained on" in counted.out
        rows = json.loads((checkpoint.parent / "results.json").read_text(encoding="utf8"))["results"]
        swept = {row["distribution"]: row["trained_on"] for row in rows if row["data"].startswith("other")}
        assert swept["as split"] == 10
        assert all(0 <= count <= 10 for count in swept.values())
    assert "no need to run the network again" in counted.out


def logits_of(checkpoint: Path) -> np.ndarray:
    with np.load(checkpoint.with_name(f"{checkpoint.stem}.predictions.npz")) as content:
        return content["logits_raw"]


@pytest.mark.parametrize("place", ["", "test"])
def test_a_checkpoint_its_configuration_and_a_folder_of_test_images_suffice(
    trained: tuple[Path, Path], shell: Shell, tmp_path: Path, place: str
) -> None:
    """Elsewhere, without a training image, without one of the classes, in another order: labels go by name."""
    data, checkpoint = trained
    assert shell("test.py", "-r", checkpoint).code == 0
    elsewhere = tmp_path / "elsewhere"
    for name in ("checkpoint-epoch1.pth", "config.json"):
        (elsewhere / "run").mkdir(parents=True, exist_ok=True)
        shutil.copy(checkpoint.with_name(name), elsewhere / "run")
    frozen = (checkpoint.parent / "split" / "test.txt").read_text(encoding="utf8").splitlines()
    tested = [line.rpartition(" ")[0] for line in frozen if not line.startswith("apple")]
    for path in tested:
        target = elsewhere / "images" / place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / path, target)
    shutil.rmtree(data)
    config = json.loads((elsewhere / "run/config.json").read_text(encoding="utf8"))
    config["data_loader"]["args"]["data_dir"] = str(elsewhere / "images")
    (elsewhere / "own.json").write_text(json.dumps(config), encoding="utf8")

    copied = elsewhere / "run/checkpoint-epoch1.pth"
    ended = shell("test.py", "-c", elsewhere / "own.json", "-r", copied)
    assert ended.code == 0, ended.err
    assert "no folder of 1 of the run's classes: apple" in ended.out + ended.err
    there, here = whole_split(checkpoint), whole_split(copied)
    assert here["images"] == len(tested)
    assert here["per_class"] == [None, *there["per_class"][1:]]


def test_unreadable_test_images_are_counted_listed_and_left_out_of_the_scores(
    trained: tuple[Path, Path], shell: Shell
) -> None:
    data, checkpoint = trained
    assert shell("test.py", "-r", checkpoint).code == 0
    before = whole_split(checkpoint)
    frozen = (checkpoint.parent / "split" / "test.txt").read_text(encoding="utf8").splitlines()
    broken = [line.rpartition(" ")[0] for line in frozen if line.startswith("birch")]
    for path in broken:
        (data / path).write_bytes(b"no picture")
    ended = shell("test.py", "-r", checkpoint)
    assert ended.code == 0
    assert f"without {len(broken)} of {len(frozen)} test images, which can't be read: {', '.join(broken)}" in ended.out
    after = whole_split(checkpoint, -1)  # other images than before: beside these
    assert after["images"] == before["images"] - len(broken)
    assert after["skipped"] == broken
    assert after["per_class"] == [before["per_class"][0], None, before["per_class"][2]]
    again = shell("test.py", "-r", checkpoint)
    assert "no need to run the network again" in again.out
    assert (whole_split(checkpoint), whole_split(checkpoint, -1)) == (before, after)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_any_class_name_is_trained_and_evaluated(tmp_path: Path, shell: Shell) -> None:
    """Bytes that are no UTF-8, and what matplotlib takes for a formula."""
    write_user_folder(tmp_path / "data", broken=False)
    for name, odd in (("apple", b"caf\xe9"), ("birch", rb"$\frac{$"), ("cedar", b"50 % {x}")):
        os.rename(tmp_path / "data" / name, os.fsencode(tmp_path / "data") + b"/" + odd)
    flags = (*FLAGS, "--epochs", "1", "--val", "--data_dir", tmp_path / "data", "--save_dir", tmp_path / "saved")
    trained = shell("train.py", "-c", OWN_IMAGES, *flags)
    assert (trained.code, trained.err) == (0, "")
    assert "can't be" not in trained.out
    (checkpoint,) = (tmp_path / "saved").glob("models/*/*/checkpoint-epoch1.pth")
    assert (checkpoint.parent / "split" / "train.txt").read_bytes().count(b"caf\xe9/") > 0
    tested = shell("test.py", "-r", checkpoint)
    assert (tested.code, tested.err) == (0, "")
    assert (checkpoint.parent / "results.csv").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_no_list_can_hold_is_told_and_no_run_is_left(tmp_path: Path, shell: Shell) -> None:
    write_user_folder(tmp_path / "data", broken=False)
    (tmp_path / "data" / "apple").rename(tmp_path / "data" / "ap\nple")
    flags = (*FLAGS, "--data_dir", tmp_path / "data", "--save_dir", tmp_path / "saved")
    ended = shell("train.py", "-c", OWN_IMAGES, *flags)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "no list can hold the path 'ap\\nple/" in line
    assert not list((tmp_path / "saved").glob("models/*/*"))

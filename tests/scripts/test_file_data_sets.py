"""Image files from lists and folders, through the published recipes: trained, tested and swept."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data_loader.image_trees import Tree, write_imagenet_lt, write_inaturalist, write_places_lt, write_user_folder
from tests.scripts.command_line import ROOT, Shell

pytestmark = pytest.mark.usefixtures("_quick_throughout")

PUBLISHED = "configs/mixup/standard_training/config_"
SMALL = ("--epochs", "1", "--bs", "16", "--t_max", "1", "--set", "arch.type=ResNet10Model", "--num_experts", "2")
QUICK = ("--no-report", "--set", "data_loader.args.num_workers=0", "--set", "data_loader.args.image_size=32")
ELEVEN = 11
FIVE = 5


@dataclass(frozen=True)
class Case:
    """A tree, the recipe that trains on it, the sweep that fits, and how many distributions that has."""

    write: Callable[[Path], Tree]
    config: str
    sweep: str
    distributions: int


CASES = {
    "ImageNet-LT": Case(
        write_imagenet_lt, f"{PUBLISHED}imagenet_lt_resnet50_bs-experts.json", "test_all_imagenet.py", ELEVEN
    ),
    "iNaturalist": Case(
        write_inaturalist, f"{PUBLISHED}iNaturalist_resnet50_bs-experts.json", "test_all_inat.py", FIVE
    ),
    "Places-LT": Case(
        write_places_lt, "configs/places/config_places_lt_resnet50_bs-experts.json", "test_all_imagenet.py", ELEVEN
    ),
}
OWN_IMAGES = ROOT / "configs/own_images/config_image_folder_bs-experts.json"


def naming(tree: Tree) -> list[str]:
    """The flags that put a tree in the place of a recipe's data."""
    keys = {f"data_loader.args.{key}": value for key, value in tree.args.items()}
    keys["arch.args.num_classes"] = len(tree.class_counts)
    return [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("name", CASES)
def test_image_files_are_trained_on_tested_and_swept(tmp_path: Path, shell: Shell, name: str) -> None:
    case = CASES[name]
    tree = case.write(tmp_path / "data")
    flags = (*SMALL, *QUICK, *naming(tree), "--save_dir", tmp_path / "saved")
    trained = shell("train.py", "-c", ROOT / case.config, *flags)
    assert (trained.err, trained.code) == ("", 0)
    (checkpoint,) = (tmp_path / "saved").glob("models/*/*/checkpoint-epoch1.pth")

    tested = shell("test.py", "-r", checkpoint)
    assert (tested.code, tested.err) == (0, "")
    swept = shell(case.sweep, "-r", checkpoint, "--posthoc_bias_correction")
    assert (swept.code, swept.err) == (0, "")

    rows = json.loads((checkpoint.parent / "results.json").read_text(encoding="utf8"))["results"]
    shifts = [row for row in rows if row["protocol"] == "shifts"]
    assert len(shifts) == case.distributions
    assert [row["distribution"] for row in shifts].count("uniform") == 1
    assert "nan" not in tested.out + swept.out
    assert "No list files for forward" in swept.out
    assert "\nSelected by rule, without list files, so not the benchmark's own images: forward" in swept.out
    assert {row["selection"] for row in rows} == {"by rule"}


def test_a_users_folder_is_reported_by_class_name_and_empty_groups_by_a_dash(tmp_path: Path, shell: Shell) -> None:
    tree = write_user_folder(tmp_path / "data")
    flags = (*SMALL, *QUICK, "--data_dir", tree.data_dir, "--save_dir", tmp_path / "saved")
    assert shell("train.py", "-c", OWN_IMAGES, *flags).code == 0
    (checkpoint,) = (tmp_path / "saved").glob("models/*/*/checkpoint-epoch1.pth")
    tested = shell("test.py", "-r", checkpoint)
    for folder in tree.data_dir.iterdir():
        assert f"\n{folder.name} " in tested.out
    ensemble = next(line for line in tested.out.splitlines() if line.startswith("ensemble"))
    assert ensemble.split()[5] == "–"  # no class has more than 100 training images
    assert "11 test images as split, not uniform: 8 to 1 a class" in tested.out


def test_the_held_out_part_of_a_users_folder_is_no_uniform_test(tmp_path: Path, shell: Shell) -> None:
    """8, 2 and 1 images are held out: backward sets and those of a larger imbalance can't be drawn."""
    tree = write_user_folder(tmp_path / "data")
    flags = (*SMALL, *QUICK, "--data_dir", tree.data_dir, "--save_dir", tmp_path / "saved")
    assert shell("train.py", "-c", OWN_IMAGES, *flags).code == 0
    (checkpoint,) = (tmp_path / "saved").glob("models/*/*/checkpoint-epoch1.pth")
    assert shell("test.py", "-r", checkpoint).code == 0
    swept = shell("test_all_imagenet.py", "-r", checkpoint)
    assert (swept.code, swept.err) == (0, "")
    rows = json.loads((checkpoint.parent / "results.json").read_text(encoding="utf8"))["results"]
    assert [(row["distribution"], row["images"]) for row in rows if row["predictor"] == "ensemble"] == [
        ("as split", 11),
        ("as split", 11),
        ("forward5", 9),
        ("forward2", 6),
        ("uniform", 3),
    ]
    assert "Left out: forward50, forward25, forward10, backward2" in swept.out
    assert "benchmark" not in swept.out


def test_an_unreadable_training_image_ends_the_run_in_one_line_that_names_it(tmp_path: Path, shell: Shell) -> None:
    tree = write_imagenet_lt(tmp_path)
    broken = next(iter(sorted((tree.data_dir / "train").rglob("*_0.JPEG"))))
    broken.write_bytes(b"no picture")
    flags = (*SMALL, *QUICK, *naming(tree), "--save_dir", tmp_path / "saved")
    ended = shell("train.py", "-c", ROOT / CASES["ImageNet-LT"].config, *flags)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert str(broken) in ended.err


def test_one_image_in_every_class_is_trained_on_and_neither_validated_nor_tested(tmp_path: Path, shell: Shell) -> None:
    tree = write_user_folder(tmp_path / "data", broken=False)
    for picture in (tmp_path / "data").rglob("*_*"):
        if picture.stem.partition("_")[2] not in {"00"}:
            picture.unlink()
    flags = (*SMALL, *QUICK, "--data_dir", tree.data_dir, "--save_dir", tmp_path / "runs of 'one'")
    validated = shell("train.py", "-c", OWN_IMAGES, *flags, "--validate")
    assert (validated.code, len(validated.err.splitlines())) == (2, 1)
    assert "trainer.validate: there are no validation images" in validated.err
    assert not list((tmp_path / "runs of 'one'").glob("models/*/*"))

    trained = shell("train.py", "-c", OWN_IMAGES, *flags, "--set", "trainer.validate=false")
    assert trained.code == 0
    (checkpoint,) = (tmp_path / "runs of 'one'").glob("models/*/*/checkpoint-epoch1.pth")
    printed = trained.out.splitlines()[-1].partition("evaluate with: ")[2]
    assert shlex.split(printed) == ["python", "test.py", "-r", str(checkpoint)]
    tested = shell("test.py", "-r", checkpoint)
    assert (tested.code, tested.err.count("\n")) == (2, 1)
    assert "error: there are no test images" in tested.err


def test_names_of_any_letters_are_trained_on_and_tested(tmp_path: Path, shell: Shell) -> None:
    tree = write_user_folder(tmp_path / "data", broken=False)
    classes = sorted(folder for folder in tree.data_dir.iterdir() if folder.is_dir())
    classes[0].rename(classes[0].with_name(os.fsdecode(b"\xff $x$")))
    for number, image in enumerate(sorted(classes[1].iterdir())):
        image.rename(
            image.with_name(("a'$(b)", " tab\t", os.fsdecode(b"\xfe"))[number % 3] + f"{number}{image.suffix}")
        )
    flags = (*SMALL, *QUICK, "--data_dir", tree.data_dir, "--save_dir", tmp_path / "saved")
    assert shell("train.py", "-c", OWN_IMAGES, *flags).code == 0
    (checkpoint,) = (tmp_path / "saved").glob("models/*/*/checkpoint-epoch1.pth")
    tested = shell("test.py", "-r", checkpoint)
    assert (tested.code, tested.err) == (0, "")
    odd = checkpoint.rename(checkpoint.with_name(os.fsdecode(b"\xff.pth")))
    assert shell("test.py", "-r", odd).code == 0
    rows = json.loads((odd.parent / "results.json").read_text(encoding="utf8"))["results"]
    assert {row["checkpoint"] for row in rows} == {checkpoint.name, odd.name}

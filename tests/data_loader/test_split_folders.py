"""Which folders are splits: usual spellings are taken, and what may or may not be one is asked about by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.folder_walk import FolderWalk
from data_loader.datasets.split_folders import SplitFolders, find_split_folders, split_of
from tests.data_loader.refusals import refusal
from tests.data_loader.test_folder_walk import touch

CLASSES = ("cat", "dog")


def put_splits(base: Path, *names: str) -> None:
    for name in names:
        touch(base, *(f"{name}/{kind}/{i}.png" for kind in CLASSES for i in range(5)))


def found(base: Path, stated: Any = None) -> tuple[str | None, ...]:
    folders = find_split_folders(base, stated, FolderWalk())
    named = (folders.train, folders.val, folders.test)
    return tuple(folder and str(folder.relative_to(base)) for folder in named)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train", "Train", "TRAINING", "training_set", "train-images", "Train Data", "trn"]),
        ("val", ["val", "Valid", "VALIDATION", "validation_set", "dev", "Dev-Set", "development"]),
        ("test", ["test", "Test", "testing", "test_images", "TestSet", "tst"]),
        (None, ["cat", "trian", "test_old", "train2", "evaluation", "images", "set", "latest", "device"]),
    ],
)
def test_usual_spellings_are_known_in_any_case(split: str | None, names: list[str]) -> None:
    assert {name: split_of(name) for name in names} == dict.fromkeys(names, split)


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "validation", "TESTING"), ("TRAIN", "dev", "test_set")]
)
def test_splits_are_found_under_usual_names(tmp_path: Path, names: tuple[str, str, str]) -> None:
    put_splits(tmp_path, *names)
    touch(tmp_path, "docs/figure.png", "annotations/all.json", "README.md")
    assert found(tmp_path) == names
    loader = ImageFolderDataLoader(data_dir=str(tmp_path), batch_size=4)
    splits = loader.find_files()
    for split, name in zip(("train", "validation", "test"), names, strict=True):
        assert {path.split(b"/")[0].decode() for path in splits[split].paths} == {name}


def test_class_folders_alone_are_no_splits(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/1.png" for name in ("bus", "train", "test", "car", "trains", "latest/deeper")))
    assert found(tmp_path) == (None, None, None)
    assert ImageFolderDataLoader(data_dir=str(tmp_path), batch_size=4).class_names == [
        *("bus", "car", "latest", "test", "train", "trains")
    ]


@pytest.mark.parametrize("other", ["trian", "test_old", "train2017", "Tets", "backup-of-train", "holdout"])
def test_what_may_be_a_split_beside_one_is_asked_about(tmp_path: Path, other: str) -> None:
    put_splits(tmp_path, "train", "test", other)
    line = refusal(lambda: found(tmp_path))
    assert line.startswith(f"{tmp_path / other}: may be a split beside train, test, and is none by its name; rename it")
    assert "data_loader.args.split_folders" in line
    stated = {"train": "train", "val": other}
    assert found(tmp_path, stated) == ("train", other, None)


def test_a_folder_that_says_nothing_beside_a_split_is_none(tmp_path: Path) -> None:
    put_splits(tmp_path, "train")
    (tmp_path / "test_old").mkdir()
    touch(tmp_path, "scans/cats.tar", "notes/1.txt")
    assert found(tmp_path) == ("train", None, None)


def test_two_folders_of_one_split_are_asked_about(tmp_path: Path) -> None:
    put_splits(tmp_path, "train", "val", "validation")
    line = refusal(lambda: found(tmp_path))
    assert "val and validation are both folders of the split val" in line


@pytest.mark.parametrize("train", ["trian", "my pictures"])
def test_a_test_folder_without_one_for_training_is_asked_about(tmp_path: Path, train: str) -> None:
    put_splits(tmp_path, train, "test")
    line = refusal(lambda: ImageFolderDataLoader(data_dir=str(tmp_path), batch_size=4).find_files())
    assert str(tmp_path) in line
    assert "split_folders" in line
    loader = ImageFolderDataLoader(data_dir=str(tmp_path), batch_size=4, split_folders={"train": train, "test": "test"})
    assert loader.class_names == ["cat", "dog"]
    assert len(loader.find_files()["train"]) == len(loader.find_files()["test"]) == 10


def test_two_misspelt_splits_are_no_classes(tmp_path: Path) -> None:
    put_splits(tmp_path, "trian", "tset")
    assert "may be a split, and is none by its name" in refusal(lambda: found(tmp_path))


def test_splits_without_class_folders_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "test/2.png")
    assert refusal(lambda: found(tmp_path)) == (
        f"{tmp_path}: test and train hold no folder for each class (data_loader.args.data_dir)"
    )


def test_a_folder_for_training_that_may_be_a_class_is_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "train/old/2.png", "car/3.png")
    assert f"{tmp_path / 'car'}: may be a split beside train" in refusal(lambda: found(tmp_path))
    assert found(tmp_path, {"train": "."}) == (".", None, None)
    loader = ImageFolderDataLoader(data_dir=str(tmp_path), batch_size=4, split_folders={"train": "."})
    assert loader.class_names == ["car", "train"]


def test_stated_folders_must_be_there_and_apart(tmp_path: Path) -> None:
    put_splits(tmp_path, "train", "test")
    line = refusal(lambda: found(tmp_path, {"train": "tarin"}))
    assert line == f"{tmp_path / 'tarin'}: no such folder (data_loader.args.split_folders.train)"
    line = refusal(lambda: found(tmp_path, {"train": ".", "test": "test"}))
    assert line.startswith(f"{tmp_path / 'test'}: lies within {tmp_path}, another split")
    assert found(tmp_path, {"train": "train", "val": "test", "test": "test"}) == ("train", "test", "test")
    with pytest.raises(ValueError, match=r"args\.split_folders: 'dev' is no split; allowed: train, val, test"):
        ImageFolderDataLoader(data_dir="", batch_size=4, split_folders={"dev": "a"})


def test_held_out_folders_come_validation_first() -> None:
    assert SplitFolders(val=Path("a"), test=Path("b")).held_out == [Path("a"), Path("b")]
    assert SplitFolders(test=Path("b")).held_out == [Path("b")]

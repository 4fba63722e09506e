"""Copies of one file are not trained on and tested, too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from tests.data_loader.image_trees import digit_picture, save_picture

SMALL = {"batch_size": 4, "image_size": 16, "num_workers": 0, "copies_in_training": True}


def parts_of(folder: Path, **args: object) -> dict[str, set[str]]:
    files = ImageFolderDataLoader(data_dir=str(folder), **{**SMALL, **args}).find_files()
    return {part: {os.fsdecode(path) for path in files[part].paths} for part in ("train", "validation", "test")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for digit, name in enumerate(("ape", "bee")):
        for number in range(20):
            save_picture(tmp_path / name / f"{number:02}.jpg", digit_picture(digit, number))
    return tmp_path


def test_all_copies_of_an_image_are_in_training_and_nothing_else_moves(folder: Path) -> None:
    plain = parts_of(folder, copies_in_training=False)
    assert parts_of(folder) == plain
    tested, trained = min(plain["test"]), min(plain["train"])
    shutil.copy(folder / tested, folder / trained)  # under its name: the split by names stays as it is
    assert parts_of(folder, copies_in_training=False) == plain
    found = parts_of(folder)
    assert found["test"] == plain["test"] - {tested}
    assert found["train"] == plain["train"] | {tested}
    assert found["validation"] == plain["validation"]


def test_copies_under_another_class_in_validation_and_test_move_both(folder: Path) -> None:
    plain = parts_of(folder)
    validated = min(path for path in plain["validation"] if path.startswith("ape"))
    tested = min(path for path in plain["test"] if path.startswith("bee"))
    shutil.copy(folder / validated, folder / tested)
    found = parts_of(folder)
    assert found["train"] == plain["train"] | {validated, tested}


def test_a_test_folder_that_serves_for_validation_too_stays_one(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "split"
    for name in ("ape", "bee"):
        shutil.copytree(folder / name, data / "train" / name)
        save_picture(data / "test" / name / "new.jpg", digit_picture(7, len(name)))
    shutil.copy(folder / "ape" / "00.jpg", data / "test" / "ape" / "old.jpg")
    loader = ImageFolderDataLoader(data_dir=str(data), **SMALL)
    files = loader.find_files()
    assert files["validation"] is files["test"]
    assert [os.fsdecode(path) for path in files["test"].paths] == ["test/ape/new.jpg", "test/bee/new.jpg"]
    assert b"test/ape/old.jpg" in files["train"].paths.tolist()

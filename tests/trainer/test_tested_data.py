"""What the results call the images that were tested."""

from __future__ import annotations

import shutil
from pathlib import Path

from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader
from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from tests.data_loader.image_trees import digit_picture, save_picture
from trainer.evaluation.tested_data import data_name


def folders(data_dir: Path) -> str:
    return data_name(ImageFolderDataLoader(data_dir=str(data_dir), batch_size=4).of_split("test"))


def test_data_are_named_by_their_folder_and_by_what_is_in_them(tmp_path: Path) -> None:
    """A copy elsewhere has the same name, other pictures and other labels have not."""
    for label, name in enumerate(("ape", "bee")):
        for number in range(10):
            save_picture(tmp_path / "here" / "pets" / name / f"{number}.jpg", digit_picture(label, number))
    first = folders(tmp_path / "here" / "pets")
    assert first.split()[0] == "pets"
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = tmp_path / "there" / "pets"
    assert folders(there) == first
    (there / "ape").rename(there / "cat")  # "bee" is then the first class
    assert folders(there) != first
    (there / "cat").rename(there / "ape")
    for number in range(10):
        save_picture(there / "ape" / f"{number}.jpg", digit_picture(2, number))
    assert folders(there) != first


def test_data_without_a_folder_are_named_by_their_loader() -> None:
    """Which images are trained on makes no difference."""
    few, many = (ImbalanceDigitsDataLoader(batch_size=4, imb_factor=factor).of_split("test") for factor in (0.1, 1.0))
    assert data_name(few).split()[0] == "ImbalanceDigits"
    assert data_name(few) == data_name(many)
    assert data_name(few) != data_name(many.of_split("train"))

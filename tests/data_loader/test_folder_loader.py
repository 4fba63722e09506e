import numpy as np
import pytest
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.folder_walk import IMAGE_EXTENSIONS
from tests.data_loader import image_trees
from utils.errors import UserError

SMALL = {"batch_size": 16, "image_size": 28, "num_workers": 0}


def loader_of(root, **options):
    return ImageFolderDataLoader(data_dir=str(root), **SMALL, **options)


def put(folder, count, *, digit=1, first=0):
    for i in range(first, first + count):
        image_trees.save_picture(folder / f"{i:03}.jpg", image_trees.digit_picture(digit, i))


def paths_of(loader):
    splits = loader.splits
    return [set(splits[name].paths.tolist()) for name in ("train", "validation", "test")]


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("user")
    return image_trees.write_user_folder(root, broken=False).data_dir


def test_one_folder_is_split_by_stratified_fractions(user_folder):
    loader = loader_of(user_folder)
    assert loader.class_names == ["apple", "birch", "cedar"]
    assert loader.num_classes == 3
    # a fifth of 40, 12, 4 for testing and a tenth for validation, rounded, at least one
    assert np.bincount(loader.of_split("test").targets).tolist() == [8, 2, 1]
    assert np.bincount(loader.split_validation().targets).tolist() == [4, 1, 1]
    assert loader.cls_num_list == [28, 9, 2]
    train, validation, test = paths_of(loader)
    assert len(train | validation | test) == 56
    for path in train:
        assert path.startswith((b"apple/", b"birch/", b"cedar/"))


def test_the_split_does_not_depend_on_the_seed(user_folder):
    assert paths_of(loader_of(user_folder, seed=1)) == paths_of(loader_of(user_folder, seed=2))


def test_without_a_validation_fraction_the_test_images_serve(user_folder):
    loader = loader_of(user_folder, val_fraction=0.0)
    _, validation, test = paths_of(loader)
    assert validation == test
    assert loader.cls_num_list == [32, 10, 3]


def test_all_kinds_of_files_are_read(user_folder):
    loader = loader_of(user_folder, randaugm=True)
    for split in (loader, loader.split_validation(), loader.of_split("test")):
        for batch in split.epoch(0):
            assert torch.isfinite(batch.view()).all()


def test_given_splits_are_kept(tmp_path):
    for split, count in (("train", 5), ("val", 3), ("test", 4)):
        for digit in (0, 1):
            put(tmp_path / split / f"class_{digit}", count + digit, digit=digit)
    loader = loader_of(tmp_path)
    assert loader.class_names == ["class_0", "class_1"]
    assert loader.cls_num_list == [5, 6]
    assert np.bincount(loader.split_validation().targets).tolist() == [3, 4]
    assert np.bincount(loader.of_split("test").targets).tolist() == [4, 5]


@pytest.mark.parametrize("given", ["val", "test"])
def test_a_single_held_out_folder_serves_for_both(tmp_path, given):
    put(tmp_path / "train" / "a", 5)
    put(tmp_path / given / "a", 3)
    loader = loader_of(tmp_path)
    assert loader.cls_num_list == [5]
    assert len(loader.split_validation().targets) == len(loader.of_split("test").targets) == 3


def test_only_a_train_folder_is_split_by_fractions(tmp_path):
    put(tmp_path / "train" / "a", 10)
    put(tmp_path / "train" / "b", 10)
    loader = loader_of(tmp_path)
    assert loader.cls_num_list == [7, 7]


def test_hidden_folders_and_other_files_do_not_count_but_deeper_ones_do(tmp_path):
    put(tmp_path / "a" / "deeper", 10)
    put(tmp_path / ".cache", 2)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "README").write_text("nor this")
    loader = loader_of(tmp_path)
    assert loader.class_names == ["a"]
    assert loader.cls_num_list == [7]


def test_mistakes_are_reported(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: can't be read as a folder.*data_dir"):
        _ = loader_of(tmp_path / "nowhere").splits
    with pytest.raises(UserError, match="expected a folder for each class"):
        _ = loader_of(tmp_path).splits
    (tmp_path / "train" / "empty").mkdir(parents=True)
    put(tmp_path / "train" / "a", 3)
    with pytest.raises(UserError, match="empty: holds no image"):
        _ = loader_of(tmp_path).splits
    put(tmp_path / "train" / "empty", 1)
    put(tmp_path / "test" / "stranger", 1)
    with pytest.raises(UserError, match="stranger: there are no training images of a class of this name"):
        _ = loader_of(tmp_path).splits
    with pytest.raises(ValueError, match=r"takes 1\.1 of the images"):
        loader_of(tmp_path, test_fraction=0.8, val_fraction=0.3)


def test_the_extensions_are_torchvisions():
    assert IMAGE_EXTENSIONS == IMG_EXTENSIONS


def test_skipped_files_are_counted_and_logged(tmp_path, caplog):
    for split, count in (("train", 4), ("test", 1)):
        put(tmp_path / split / "a", count)
        (tmp_path / split / "a" / "moving.GIF").touch()
    for name in ("README", "notes.txt", ".hidden"):
        (tmp_path / "train" / "a" / name).touch()
    loader = loader_of(tmp_path)
    with caplog.at_level("INFO"):
        _ = loader.splits
    assert sorted(loader.skipped_files.items()) == [*((".gif", 2), (".txt", 1), ("hidden", 1), ("no extension", 1))]
    line = f"{tmp_path}: skipped: 5 files (.gif 2, .txt 1, hidden 1, no extension 1)"
    assert [record.getMessage() for record in caplog.records] == [line]
    loader.inventory()
    assert loader.skipped_files.total() == 5

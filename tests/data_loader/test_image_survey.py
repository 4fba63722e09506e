"""What the check says of a data set's images: kinds and depths, images in two splits, and what is no file."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data_loader import image_trees
from tests.data_loader.checked import check_in
from tests.odd_files import ODD_KINDS, put_odd


@pytest.fixture
def tree(tmp_path):
    return image_trees.write_imagenet_lt(tmp_path, train_counts=(6, 4, 2), test_per_class=2)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    call = check_in(tmp_path, monkeypatch, capsys)
    return lambda section: call(section, "--workers", "0")


def save_deep(folder, *arrays, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number, array in enumerate(arrays, first):
        Image.fromarray(array).save(folder / f"{number}.png")


def microscope(random, low=200, high=3500):
    values = random.integers(low, high, (16, 16), dtype=np.uint16)
    values[0, :2] = low, high
    return values


def lists_section(tree, **args):
    return {"type": "ImageNetLTDataLoader", "args": {"batch_size": 4, **tree.args, **args}}


def folders_section(root, **args):
    return {"type": "ImageFolderDataLoader", "args": {"batch_size": 4, "data_dir": str(root), **args}}


def test_kinds_and_depths_are_told_with_what_to_do(run, tmp_path):
    random = np.random.default_rng(0)
    save_deep(tmp_path / "images" / "a", *(microscope(random) for _ in range(6)))
    save_deep(tmp_path / "images" / "b", *(microscope(random) for _ in range(6)))
    save_deep(
        tmp_path / "images" / "b", *(random.integers(0, 256, (16, 16), dtype=np.uint8) for _ in range(4)), first=6
    )
    code, out = run(folders_section(tmp_path / "images"))
    assert (code, out.splitlines()[1:]) == (
        0,
        [
            "kinds: 16-bit grey 75.0 %, 8-bit grey 25.0 %",
            "12 16-bit grey images, values 200 … 3,500 of 65,535: they will be nearly black; "
            "set data_loader.args.value_range to [200, 3500]",
        ],
    )
    _, out = run(folders_section(tmp_path / "images", value_range=[200, 3000]))
    line = "12 16-bit grey images, values 200 … 3,500 of 65,535: scaled from 200 … 3,000 (value_range)"
    assert out.splitlines()[2] == f"{line}; what lies beyond is cut off"
    _, out = run(folders_section(tmp_path / "images", value_range=[200, 3500]))
    assert (
        out.splitlines()[2]
        == "12 16-bit grey images, values 200 … 3,500 of 65,535: scaled from 200 … 3,500 (value_range)"
    )


def test_one_hot_pixel_hides_no_dark_images(run, tmp_path):
    random = np.random.default_rng(0)
    images = [microscope(random) for _ in range(6)]
    images[0][0, 0] = 65535
    save_deep(tmp_path / "images" / "a", *images)
    _, out = run(folders_section(tmp_path / "images"))
    assert "values 200 … 65,535 of 65,535: they will be nearly black" in out
    assert "value_range to [200, 3500]" in out


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0, 65535, "scaled by their type's range"), (60000, 64000, "they will be nearly white; set")],
)
def test_other_depths(run, tmp_path, low, high, told):
    random = np.random.default_rng(0)
    save_deep(tmp_path / "images" / "a", *(microscope(random, low, high) for _ in range(6)))
    _, out = run(folders_section(tmp_path / "images"))
    assert f"6 16-bit grey images, values {low:,} … {high:,} of 65,535: {told}" in out


def test_the_same_image_in_two_splits_is_told_for_folders(run, tmp_path):
    for split, first in (("train", 0), ("valid", 5), ("test", 8)):
        for i in range(first, first + 4):
            image_trees.save_picture(tmp_path / "own" / split / "one" / f"{i}.jpg", image_trees.digit_picture(1, i))
    root = tmp_path / "own"
    shutil.copy(root / "train" / "one" / "2.jpg", root / "test" / "one" / "renamed.jpg")
    code, out = run(folders_section(root))
    lines = (tmp_path / "bad.txt").read_text().splitlines()
    assert code == 1
    assert "2 images are in two splits" in out  # number 8 is the last for validation and the first for testing
    same = {"8.jpg": ("validation", root / "valid/one/8.jpg"), "renamed.jpg": ("train", root / "train/one/2.jpg")}
    assert sorted(lines) == [
        f"{root / 'test/one' / name}\tthis test image is in the {split} split, as {other}"
        for name, (split, other) in same.items()
    ]


def test_the_same_image_in_two_splits_is_told_for_lists(tree, run, tmp_path):
    with open(tree.args["test_txt"], "a") as file:
        file.write("train/n01440764/n01440764_0.JPEG 0\n")
    code, out = run(lists_section(tree))
    assert (code, "1 image is in two splits" in out) == (1, True)
    path = tree.data_dir / "train/n01440764/n01440764_0.JPEG"
    assert (tmp_path / "bad.txt").read_text() == f"{path}\tthis test image is in the train split, too\n"


def test_a_list_that_serves_two_splits_shares_nothing(tree, run):
    code, out = run(lists_section(tree, val_txt=tree.args["test_txt"]))
    assert (code, "two splits" in out) == (0, False)


def test_images_that_are_the_same_in_8_bits_only_are_not_the_same(run, tmp_path):
    for split, level in (("train", 200), ("test", 210)):
        save_deep(tmp_path / "images" / split / "a", np.full((16, 16), level, np.uint16))
    code, out = run(folders_section(tmp_path / "images"))
    assert (code, "two splits" in out) == (0, False)


@pytest.mark.parametrize("kind", [kind for kind in ODD_KINDS if kind != "folder"])
def test_what_is_no_file_is_listed_and_nobody_waits_for_it(run, tmp_path, kind):
    tree = image_trees.write_user_folder(tmp_path / "user", broken=False)
    odd = tree.data_dir / "apple" / "apple_07.jpg"
    odd.unlink()
    put_odd(odd, kind)
    code, out = run(folders_section(tree.data_dir))
    assert (code, "56 images checked: 1 can't be read" in out) == (1, True)
    path, reason = (tmp_path / "bad.txt").read_text().split("\t")
    assert path == str(odd)
    assert ODD_KINDS[kind] in reason

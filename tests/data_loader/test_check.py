from pathlib import Path

import pytest

from data_loader.class_remarks import class_remarks
from data_loader.data_loaders.imagenet_lt import ImageNetLTDataLoader
from tests.data_loader import image_trees
from tests.data_loader.checked import check_in
from utils.errors import ConfigError, UserError


@pytest.fixture
def tree(tmp_path):
    return image_trees.write_imagenet_lt(tmp_path, train_counts=(6, 4, 2), test_per_class=2)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    return check_in(tmp_path, monkeypatch, capsys)


def section_of(tree, kind="ImageNetLTDataLoader", **args):
    return {"type": kind, "args": {"batch_size": 4, **tree.args, **args}}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_good_data_set(tree, run, tmp_path, workers):
    code, out = run(section_of(tree), "--workers", str(workers))
    assert code == 0
    assert "24 images checked: 0 can't be read; 0 list lines are wrong" in out  # 12 + 3 · 2 + 3 · 2
    assert not (tmp_path / "bad.txt").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_that_is_wrong_is_listed(tree, run, tmp_path, workers):
    images = sorted((tree.data_dir / "train").glob("*/*_[0-9].JPEG"))
    images[0].unlink()
    images[1].write_bytes(b"")
    image_trees.truncate(images[2])
    images[3].write_text("<html>")
    with open(tree.args["train_txt"], "a") as file:
        file.write("train/a.JPEG 3\nlonely\n")
    code, out = run(section_of(tree), "--workers", str(workers))
    assert code == 1
    assert "24 images checked: 4 can't be read; 2 list lines are wrong" in out
    lines = [line.split("\t") for line in (tmp_path / "bad.txt").read_text().splitlines()]
    assert [line[0] for line in lines[:2]] == [f"{tree.args['train_txt']}, line {number}" for number in (13, 14)]
    reasons = dict(lines[2:])
    assert list(reasons) == [str(path) for path in images[:4]]
    for path, reason in zip(images, ("no such file", "is empty", "Truncated", "not an image"), strict=False):
        assert reason.lower() in reasons[str(path)].lower()


def test_a_users_folder_and_another_data_dir(run, tmp_path):
    tree = image_trees.write_user_folder(tmp_path / "user")
    section = section_of(tree, "ImageFolderDataLoader")
    section["args"]["data_dir"] = "elsewhere"
    code, out = run(section, "--data_dir", str(tree.data_dir), "--workers", "0")
    assert code == 1
    assert "56 images checked: 1 can't be read" in out
    assert "apple_05.jpg" in (tmp_path / "bad.txt").read_text()


def test_data_in_memory(run):
    code, out = run({"type": "ImbalanceDigitsDataLoader", "args": {"batch_size": 4}})
    assert code == 0
    assert "held in memory" in out


def test_mistakes_in_the_configuration(tree, run, tmp_path):
    with pytest.raises(ConfigError, match=r"data_loader\.args\.batchsize: unknown key"):
        run(section_of(tree, batchsize=3))
    with pytest.raises(UserError, match="no such list file"):
        run(section_of(tree, train_txt=str(tmp_path / "none.txt")))


def test_files_that_are_no_images_by_their_extension_are_mentioned(run, tmp_path):
    tree = image_trees.write_user_folder(tmp_path / "user", broken=False)
    section = section_of(tree, "ImageFolderDataLoader")
    code, out = run(section, "--workers", "0")
    assert (code, "skipped" in out) == (0, False)
    (tree.data_dir / "apple" / "moving.gif").touch()
    code, out = run(section, "--workers", "0")
    assert code == 0
    assert out.splitlines()[2:] == ["skipped: 1 file (.gif 1)"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", ": names no image"),
        ("a.jpg 1\nb.jpg " + "9" * 5000, f", line 2: label {'9' * 80} is not in the allowed range: 0 to 2"),
        ("x" * 10**6 + " 1\n", f", line 1: the path '{'x' * 80}' has more than 4096 bytes, as no file's can"),
        ("a\0.jpg 1\n", r", line 1: the path 'a\x00.jpg' holds a NUL character, as no file's can"),
    ],
    ids=["empty", "digits", "a long path", "NUL"],
)
def test_a_wrong_list_is_told_in_the_words_of_training(tree, run, tmp_path, content, told):
    Path(tree.args["train_txt"]).write_text(content)
    section = section_of(tree)
    code, out = run(section, "--workers", "0")
    assert (code, "list line is wrong" in out) == (1, True)
    (line,) = (tmp_path / "bad.txt").read_text().splitlines()[:1]
    assert line.replace("\t", ": ", 1).startswith(f"{tree.args['train_txt']}{told}")
    with pytest.raises(UserError) as raised:
        _ = ImageNetLTDataLoader(**section["args"]).splits
    assert str(raised.value) == line.replace("\t", ": ", 1)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_training_on_the_test_images_is_told_in_the_words_of_training(tree, run, tmp_path, end):
    """A list of the very same images is no split with images of another's."""
    Path(tree.args["train_txt"]).write_bytes(Path(tree.args["test_txt"]).read_bytes().replace(b"\n", end.encode()))
    code, out = run(section_of(tree), "--workers", "0")
    told = "data_loader.args.train_txt: would train on the test images; train.py refuses that"
    assert (code, f"  {told}" in out.splitlines()) == (1, True)
    assert (tmp_path / "bad.txt").read_text().splitlines() == [told.replace(": ", "\t", 1)]
    code, out = run({"type": "ImbalanceDigitsDataLoader", "args": {"batch_size": 4, "training": False}})
    assert (code, "data_loader.args.training: would train on the test images" in out) == (1, True)


def test_a_file_whose_name_breaks_the_line_is_one_line(run, tmp_path):
    tree = image_trees.write_user_folder(tmp_path / "user", broken=False)
    (tree.data_dir / "apple" / "a\nb\x85\udcff.jpg").touch()
    code, out = run(section_of(tree, "ImageFolderDataLoader"), "--workers", "0")
    (line,) = (tmp_path / "bad.txt").read_text(encoding="utf8").splitlines()
    assert code == 1
    assert line.startswith(f"{tree.data_dir}/apple/a\\nb\\x85\\udcff.jpg\t")
    assert "  " + line.replace("\t", ": ") in out.splitlines()


def test_classes_without_images_are_told_as_by_training(tree, run):
    lines = Path(tree.args["train_txt"]).read_text().splitlines()
    kept = [line for line in lines if not line.endswith(" 1")]
    Path(tree.args["train_txt"]).write_text("\n".join(kept))
    section = section_of(tree)
    code, out = run(section, "--workers", "0")
    remarks = class_remarks(ImageNetLTDataLoader(**section["args"]))
    assert (code, out.splitlines()[2:]) == (0, [f"warning: {remark}" for remark in remarks])
    assert remarks == ["1 of 3 classes (1) have no training image: they can't be learnt"]

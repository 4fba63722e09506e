import pytest

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

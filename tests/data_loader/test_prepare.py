import io
import shutil
import sys
import tarfile

import pytest

from data_loader import prepare
from data_loader.data_loaders.imagenet_lt import ImageNetLTDataLoader
from tests.data_loader import image_trees
from tests.odd_files import ODD_KINDS, put_odd
from utils.errors import UserError


@pytest.fixture
def tree(tmp_path):
    return image_trees.write_imagenet_lt(tmp_path, train_counts=(5, 3, 2), test_per_class=3)


def flat_archive(path, files):
    with tarfile.open(path, "w") as archive:
        for file in files:
            archive.add(file, arcname=file.name)
    return path


def nested_archive(path, folders):
    with tarfile.open(path, "w") as archive:
        for folder in folders:
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as content:
                for file in sorted(folder.iterdir()):
                    content.add(file, arcname=file.name)
            member = tarfile.TarInfo(f"{folder.name}.tar")
            member.size = inner.tell()
            inner.seek(0)
            archive.addfile(member, inner)
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
    prepare.main()


def read_all(tree):
    loader = ImageNetLTDataLoader(**tree.args, batch_size=8, image_size=16, num_workers=0)
    for split in (loader, loader.split_validation(), loader.of_split("test")):
        list(split.epoch(0))


def test_raw_archives_end_where_the_lists_want_them(tree, tmp_path, monkeypatch, capsys):
    train = nested_archive(tmp_path / "train.tar", sorted((tree.data_dir / "train").iterdir()))
    validation = flat_archive(tmp_path / "val.tar", sorted((tree.data_dir / "val").glob("*/*")))
    shutil.rmtree(tree.data_dir)
    run(monkeypatch, "imagenet-train", train, "--data-dir", tree.data_dir)
    run(monkeypatch, "imagenet-val", validation, "--data-dir", tree.data_dir, "--list", tree.args["test_txt"])
    out = capsys.readouterr().out
    assert "3 classes unpacked" in out
    assert "9 images placed" in out
    read_all(tree)
    run(monkeypatch, "imagenet-train", train, "--data-dir", tree.data_dir)  # again: nothing to do
    run(monkeypatch, "imagenet-val", validation, "--data-dir", tree.data_dir, "--list", tree.args["test_txt"])
    out = capsys.readouterr().out
    assert "0 classes unpacked" in out
    assert "0 images placed" in out


def test_a_class_that_was_interrupted_is_unpacked_anew(tree, tmp_path):
    train = nested_archive(tmp_path / "train.tar", sorted((tree.data_dir / "train").iterdir()))
    whole = sorted((tree.data_dir / "train").iterdir())[0]
    names = sorted(path.name for path in whole.iterdir())
    whole.rename(whole.with_name(f".{whole.name}.partial"))
    (whole.with_name(f".{whole.name}.partial") / "left_over").write_text("")
    assert prepare.unpack_classes(train, tree.data_dir / "train") == 1
    assert sorted(path.name for path in whole.iterdir()) == names


def test_a_flat_folder_of_validation_images_is_sorted_into_classes(tree, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for image in sorted((tree.data_dir / "val").glob("*/*")):
        image.rename(flat / image.name)
    assert prepare.place_by_list(flat, tree.data_dir, tree.args["test_txt"]) == 9
    assert not any(flat.iterdir())
    read_all(tree)


def test_mistakes_are_reported(tree, tmp_path):
    shutil.rmtree(tree.data_dir / "val")
    with pytest.raises(UserError, match=r"9 images of .* aren't in it, ILSVRC2012_val_00000000\.JPEG for one"):
        prepare.place_by_list(tree.data_dir, tree.data_dir, tree.args["test_txt"])
    with pytest.raises(UserError, match=r"none\.tar: no such tar archive"):
        prepare.place_by_list(tmp_path / "none.tar", tree.data_dir, tree.args["test_txt"])
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(UserError, match="can't be read as a tar archive"):
        prepare.place_by_list(tmp_path / "text.tar", tree.data_dir, tree.args["test_txt"])
    flat = flat_archive(tmp_path / "flat.tar", sorted((tree.data_dir / "train").glob("*/*"))[:1])
    with pytest.raises(UserError, match=r"expected a \.tar for each class"):
        prepare.unpack_classes(flat, tree.data_dir / "train")


@pytest.mark.parametrize("kind", [kind for kind in ODD_KINDS if kind != "folder"])
def test_what_is_no_file_in_an_archives_place_is_refused_by_name(tree, tmp_path, kind):
    put_odd(tmp_path / "images.tar", kind)
    with pytest.raises(UserError, match=rf"images\.tar: .*{ODD_KINDS[kind]}"):
        prepare.unpack_classes(tmp_path / "images.tar", tree.data_dir / "train")

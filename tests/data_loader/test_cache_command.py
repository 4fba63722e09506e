"""The command that builds caches, called as it is, but in this process."""

import json
import shlex
import sys

import pytest

from data_loader.cache import __main__ as command
from tests.data_loader import image_trees
from tests.data_loader.cached_trees import cached, user_folder
from tests.data_loader.epochs import inputs
from utils.errors import ConfigError, UserError


@pytest.fixture
def folder(tmp_path):
    return user_folder(tmp_path / "my images")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`run(content, *flags)` → exit code and output."""

    def call(content, *flags):
        (tmp_path / "config.json").write_text(json.dumps(content))
        monkeypatch.setattr(sys, "argv", ["cache", str(tmp_path / "config.json"), "--workers", "0", *flags])
        try:
            command.main()
        except SystemExit as ended:
            return ended.code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return call


def section_of(data_dir, kind="ImageFolderDataLoader", **args):
    return {"type": kind, "args": {"batch_size": 4, "image_size": 16, "data_dir": str(data_dir), **args}}


def test_it_builds_what_the_flags_ask_for_and_says_how_to_train_from_it(folder, run, tmp_path):
    there = tmp_path / "the cache"
    code, out = run({"data_loader": section_of(folder)}, "--folder", str(there), "--side", "20", "--format", "raw")
    first, second = out.splitlines()
    assert code == 0
    assert ".bin: 50 of 50 images, 0.00 GB (shorter side 20, raw)" in first
    told, *settings = second.partition(" with ")[0::2]
    assert told == "train from it"
    values = [value for value in shlex.split(settings[0]) if value != "--set"]
    assert values == [f"data_loader.args.{key}" for key in (f"cache={there}", "cache_side=20", "cache_format=raw")]
    assert len(inputs(cached(folder, there, side=20), 0)) == 7  # 50 images in batches of 8
    code, out = run({"data_loader": section_of(folder, cache=str(there), cache_side=20, cache_format="raw")})
    assert (code, "; 50 of them were there and are as they should be" in out) == (0, True)


def test_images_elsewhere(folder, run, tmp_path):
    code, out = run({"data_loader": section_of("nowhere", cache=str(tmp_path / "c"))}, "--data_dir", str(folder))
    assert (code, "50 of 50 images" in out, "(shorter side 256, jpeg)" in out) == (0, True, True)


def test_further_loaders_have_caches_of_their_own(folder, run, tmp_path):
    image_trees.write_user_folder(tmp_path / "more", broken=False)
    more = section_of(tmp_path / "more", cache=str(tmp_path / "c"), test_fraction=0.5, val_fraction=0)
    code, out = run({"data_loader": section_of(folder), "loaders": {"unlabelled": more}})
    assert (code, "28 of 28 images" in out, "--set loaders.unlabelled.args.cache=" in out) == (0, True, True)


def test_images_that_cannot_be_read_are_named(folder, run, tmp_path):
    image_trees.truncate(folder / "train" / "apple" / "apple_05.jpg")
    code, out = run({"data_loader": section_of(folder, cache=str(tmp_path / "c"))})
    assert (code, "49 of 50 images" in out) == (1, True)
    assert f"  {folder}/train/apple/apple_05.jpg: can't be decoded" in out


def test_mistakes_are_told(folder, run, tmp_path):
    with pytest.raises(UserError, match=r"names no folder for a cache: give --folder, or set data_loader\.args\.cache"):
        run({"data_loader": section_of(folder)})
    with pytest.raises(UserError, match="names no folder for a cache"):
        run({"data_loader": {"type": "ImbalanceDigitsDataLoader", "args": {"batch_size": 4}}})
    with pytest.raises(ConfigError, match=r"args\.cache_side: expected at least image_size, which is 16; got 8"):
        run({"data_loader": section_of(folder)}, "--folder", str(tmp_path / "c"), "--side", "8")
    with pytest.raises(ConfigError, match=r"data_loader\.args\.batchsize: unknown key.*(\n.*)*loaders\.more\.type"):
        run({"data_loader": section_of(folder, batchsize=4), "loaders": {"more": {"type": "ImageFolder"}}})
    with pytest.raises(ConfigError, match="data_loader: expected an object"):
        run({})

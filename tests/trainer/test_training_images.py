"""Nothing trains on test images, however the configuration says that it should."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data_loader.image_trees import Tree, write_imagenet_lt, write_user_folder
from tests.trainer.small_runs import small_config
from tests.trainer.toy_methods import register
from trainer.config.run_config import run_config
from trainer.loaders import build_loaders
from utils.config.parser import ConfigParser
from utils.errors import ConfigError, UserError

DIGITS = {"type": "ImbalanceDigitsDataLoader", "args": {"batch_size": 8, "num_workers": 0}}
REFUSED = "would train on the test images; train.py refuses that"


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write_imagenet_lt(tmp_path_factory.mktemp("lists"), train_counts=(3, 2), test_per_class=2)


def loader(tree: Tree, **changes: Any) -> dict[str, Any]:
    return {"type": "ImageNetLTDataLoader", "args": {**tree.args, "batch_size": 2, "num_workers": 0, **changes}}


def refusal(section: dict[str, Any], further: dict[str, Any] | None = None, *, classes: int = 2) -> str:
    """What is said against training from a loader, and from a further one."""
    config = small_config(data_loader=section, arch__args__num_classes=classes)
    if further is not None:
        config |= {"method": {"type": "FixMatch", "args": {"threshold": 0.9}}, "loaders": {"unlabelled": further}}
    try:
        build_loaders(run_config(ConfigParser(config, source="a test")))
    except ConfigError as error:
        return str(error)
    return ""


def relative(test_list: Path) -> str:
    return os.path.relpath(test_list)


def by_a_detour(test_list: Path) -> str:
    return str(test_list.parent / ".." / test_list.parent.name / test_list.name)


def by_a_link(test_list: Path) -> str:
    link = test_list.with_name("linked.txt")
    link.unlink(missing_ok=True)
    link.symlink_to(test_list)
    return str(link)


def rewritten(change: Callable[[str], str]) -> Callable[[Path], str]:
    def write(test_list: Path) -> str:
        other = test_list.with_name("copy.txt")
        other.write_text(change(test_list.read_text()))
        return str(other)

    return write


SPELLINGS: dict[str, Callable[[Path], str]] = {
    "as it is": str,
    "relative": relative,
    "by a detour": by_a_detour,
    "a link": by_a_link,
    "a copy": rewritten(lambda text: text),
    "another order": rewritten(lambda text: "".join(reversed(text.splitlines(keepends=True)))),
    "other line ends": rewritten(lambda text: text.replace("\n", "\r\n")),
    "other paths": rewritten(lambda text: text.replace("val/", "./train/../val/")),
    "a part of it": rewritten(lambda text: "".join(text.splitlines(keepends=True)[1:])),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_training_list_of_test_images_is_refused_however_it_is_spelled(tree: Tree, spelling: str) -> None:
    training_list = SPELLINGS[spelling](Path(tree.args["test_txt"]))
    line = refusal(loader(tree, train_txt=training_list))
    assert line == f"data_loader.args.train_txt: {REFUSED} (in a test)"
    assert refusal(loader(tree)) == ""


def test_a_folder_of_training_images_that_leads_to_the_test_images_is_refused(tmp_path: Path) -> None:
    write_user_folder(tmp_path / "test", broken=False)
    (tmp_path / "train").symlink_to(tmp_path / "test")
    section = {"type": "ImageFolderDataLoader", "args": {"data_dir": str(tmp_path), "batch_size": 2}}
    with pytest.raises(UserError, match=r"is the same folder as .*, by a symbolic link; remove the link"):
        refusal(section, classes=3)
    (tmp_path / "train").unlink()
    write_user_folder(tmp_path / "train", broken=False)
    assert refusal(section, classes=3) == ""


def test_the_test_split_is_refused_as_training_images(tree: Tree) -> None:
    digits = {**DIGITS, "args": {**DIGITS["args"], "training": False}}
    assert refusal(digits, classes=10) == f"data_loader.args.training: {REFUSED} (in a test)"
    assert refusal(loader(tree, training=False)) == f"data_loader.args.training: {REFUSED} (in a test)"


def test_further_loaders_are_held_to_the_same(tree: Tree) -> None:
    """Their test images are everyone's: those that the run is evaluated on are no unlabelled training images."""
    of_test = loader(tree, train_txt=tree.args["test_txt"], test_txt=tree.args["val_txt"])
    assert refusal(loader(tree), of_test) == f"loaders.unlabelled.args.train_txt: {REFUSED} (in a test)"
    assert refusal(loader(tree), loader(tree, training=False)).startswith("loaders.unlabelled.args.training: ")
    assert refusal(loader(tree), loader(tree)) == ""

"""Which folders of a data set are its splits: usual spellings are taken, what may or may not be one is asked about."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import NamedTuple

from data_loader.datasets.folder_walk import FolderWalk, is_folder, is_image
from data_loader.datasets.leftovers import leftover_kind
from utils.errors import UserError

SPLITS = ("train", "val", "test")

_SPELLINGS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "devel", "development"),
    "test": ("test", "testing", "tst"),
}
_BESIDES = re.compile(r"(set|sets|data|dataset|split|images|imgs)$")  # "test_set", "Training Images"
_WORDS = [word for words in _SPELLINGS.values() for word in words]
_RESEMBLES = 0.75
_NAME_THEM = 'rename it, or say which are the splits, as in data_loader.args.split_folders={"train": "NAME"}'


@dataclass(frozen=True)
class SplitFolders:
    """Where the class folders of each split lie; None: there is no such folder.

    Without any, they lie in the data set's own folder.
    """

    train: Path | None = None
    val: Path | None = None
    test: Path | None = None

    @property
    def held_out(self) -> list[Path]:
        """The folders for validation and test that there are, in this order."""
        return [folder for folder in (self.val, self.test) if folder is not None]


def find_split_folders(base: Path, stated: Mapping[str, str] | None, walk: FolderWalk) -> SplitFolders:
    """The folders of `base` that are splits.

    Args:
        base: the data set's folder.
        stated: split → its folder within `base`: then nothing is looked for. None: by the folders' names.
        walk: counts what is passed over.

    Raises:
        UserError: a folder may be a split or not, two are the same one, or a stated one isn't there.
    """
    if stated is not None:
        return _stated(base, stated)
    names, inside = walk.folders_in(base), cache(lambda name: _contents(base / name))
    spelt = {split: [name for name in names if split_of(name) == split] for split in SPLITS}
    if names and all(map(split_of, names)) and not any(inside(name).folders for name in names):
        raise UserError(f"{base}: {' and '.join(names)} hold no folder for each class (data_loader.args.data_dir)")
    spelt["train"] = [name for name in spelt["train"] if inside(name).folders]
    if not spelt["train"]:  # a class may have the name of a split
        spelt = {split: [name for name in found if not inside(name).images] for split, found in spelt.items()}
    for split, found in spelt.items():
        if len(found) > 1:
            raise UserError(f"{base}: {' and '.join(found)} are both folders of the split {split}; {_NAME_THEM}")
    chosen = {split: found[0] for split, found in spelt.items() if found}
    for name in names:
        if name not in chosen.values() and _may_be_a_split(name, names, chosen.get("train"), inside):
            beside = f" beside {', '.join(chosen.values())}" if chosen else ""
            raise UserError(f"{base / name}: may be a split{beside}, and is none by its name; {_NAME_THEM}")
    return SplitFolders(**{split: base / name for split, name in chosen.items()})


class _Contents(NamedTuple):
    """What lies in a folder, leftovers aside."""

    folders: frozenset[str]
    images: bool


_NOTHING = _Contents(frozenset(), False)


def _contents(folder: Path) -> _Contents:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: is_folder(entry) for entry in entries}
    except OSError:
        return _NOTHING
    named = {name for name in found if not leftover_kind(name, is_folder=found[name])}
    folders = frozenset(name for name in named if found[name])
    return _Contents(folders, any(is_image(name) for name in named - folders))


def _may_be_a_split(name: str, names: Sequence[str], train: str | None, inside: Callable[[str], _Contents]) -> bool:
    """Whether a folder beside others may be a split, or as much a class as the one that is taken for `train`.

    Args:
        name: of the folder.
        names: of all folders.
        train: that for training; None: there is none by its name.
        inside: what lies in one.
    """
    if train is not None:
        here, there = inside(name), inside(train)
        has_classes = bool(here.folders & there.folders)
        return has_classes or (here.images and there.images) or (_resembles_a_split(name) and here != _NOTHING)
    others = (other for other in names if other != name)
    return _resembles_a_split(name) and any(inside(name).folders & inside(other).folders for other in others)


def _resembles_a_split(name: str) -> bool:
    """Whether a name may be a split's, misspelt or with something added: "trian", "test_old", "train2"."""
    parts = [part for part in re.split(r"[\W\d_]+", name.casefold()) if part]
    return any(part in _WORDS or (len(part) > 3 and get_close_matches(part, _WORDS, 1, _RESEMBLES)) for part in parts)


def _stated(base: Path, stated: Mapping[str, str]) -> SplitFolders:
    """The folders that the configuration names."""
    folders = {split: base / name for split, name in stated.items()}
    for split, folder in folders.items():
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder (data_loader.args.split_folders.{split})")
    for outer in folders.values():
        for inner in folders.values():
            if outer.resolve() in inner.resolve().parents:
                raise UserError(f"{inner}: lies within {outer}, another split (data_loader.args.split_folders)")
    return SplitFolders(**folders)


def split_of(name: str) -> str | None:
    """Which split a folder's name stands for, in any case: "Valid" and "dev-set" for val."""
    word = re.sub(r"[\W_]+", "", name.casefold())
    words = (word, _BESIDES.sub("", word))
    return next((split for split, spellings in _SPELLINGS.items() if any(word in spellings for word in words)), None)

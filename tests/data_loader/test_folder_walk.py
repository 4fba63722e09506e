"""Folders as they are: leftovers are passed over and counted, loops and what is no file are refused by name."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.class_folders import find_classes, find_images
from data_loader.datasets.folder_walk import FolderWalk, skipped_files_line
from data_loader.datasets.leftovers import leftover_kind
from tests.data_loader.refusals import refusal
from tests.odd_files import ODD_KINDS, put_odd


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found_in(root: Path, walk: FolderWalk | None = None) -> list[str]:
    classes = find_classes(root)
    return [os.fsdecode(path) for path in find_images(root, classes, base=root, walk=walk).paths]


FILES = {
    **{name: name for name in (".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "ehthumbs.db")},
    **dict.fromkeys(("._1.png", "._.DS_Store"), "._*"),
    **dict.fromkeys((".1.png", ".nomedia", ".1.png.swp"), "hidden"),
    **dict.fromkeys(("1.png~", "~$1.png", "#1.png#", "1.png.part", "1.jpg.crdownload", "1.PNG.TMP"), "temporary"),
}
FOLDERS = ("__MACOSX", ".git", ".ipynb_checkpoints", "@eaDir", "$RECYCLE.BIN", "lost+found", ".Trash-0", "__pycache__")


@pytest.mark.parametrize("name", FILES)
def test_files_that_programs_leave_are_known_by_their_names(name: str) -> None:
    assert leftover_kind(name, is_folder=False) == FILES[name]


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_that_programs_leave_are_known_by_their_names(name: str) -> None:
    assert leftover_kind(name, is_folder=True) == f"{name}/"


@pytest.mark.parametrize("name", ["1.png", "a~1.png", "thumbs.png", "git", "macosx", "lost", "tmp.jpg", "part.1.png"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_other_names_are_no_leftovers(name: str, is_folder: bool) -> None:
    assert leftover_kind(name, is_folder=is_folder) == ""


def test_leftovers_are_passed_over_wherever_they_lie_and_counted_once(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/deeper/2.PNG", "dog/3.jpg", "dog/notes.txt")
    touch(tmp_path, ".DS_Store", "cat/.DS_Store", "cat/._1.png", "__MACOSX/cat/._1.png", "cat/deeper/2.PNG~")
    touch(tmp_path, "cat/.ipynb_checkpoints/1-checkpoint.png", "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "Thumbs.db")
    walk = FolderWalk()
    assert found_in(tmp_path, walk) == ["cat/1.png", "cat/deeper/2.PNG", "dog/3.jpg"]
    assert walk.skipped == Counter(
        {
            **{".DS_Store": 2, "._*": 1, "__MACOSX/": 1, ".ipynb_checkpoints/": 1, "@eaDir/": 1},
            **{"Thumbs.db": 1, "temporary": 1, ".txt": 1},
        }
    )
    assert skipped_files_line(walk.skipped).startswith("skipped: 6 files, 3 folders (.DS_Store 2, ._* 1, ")


@pytest.mark.parametrize("layout", ["flat", "splits"])
def test_a_loader_tells_what_it_has_passed_over(tmp_path: Path, layout: str) -> None:
    roots = [tmp_path] if layout == "flat" else [tmp_path / "Train", tmp_path / "valid"]
    for root in roots:
        touch(root, *(f"{name}/{i}.png" for name in ("a", "b") for i in range(10)), "a/._0.png")
    touch(tmp_path, ".DS_Store", "__MACOSX/x.png")
    loader = ImageFolderDataLoader(data_dir=str(tmp_path), batch_size=4)
    assert sum(loader.find_files()["train"].targets == 0) == (7 if layout == "flat" else 10)
    assert loader.skipped_files == {"._*": len(roots), ".DS_Store": 1, "__MACOSX/": 1}


def test_a_link_that_leads_back_is_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "cat" / "again").symlink_to("..")
    line = refusal(lambda: found_in(tmp_path))
    assert line.startswith(f"{tmp_path / 'cat' / 'again' / 'cat'}: is the same folder as {tmp_path / 'cat'}, by a symb")


def test_images_reached_twice_are_not_counted_twice(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "horse").symlink_to("dog")
    assert f"is the same folder as {tmp_path / 'dog'}" in refusal(lambda: found_in(tmp_path))


def test_links_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.png", "data/dog/2.png")
    (tmp_path / "data" / "cat").symlink_to("../elsewhere")
    assert found_in(tmp_path / "data") == ["cat/1.png", "dog/2.png"]


@pytest.mark.parametrize("kind", [kind for kind in ODD_KINDS if kind != "folder"])
def test_what_stands_in_a_class_folders_place_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "cat/1.png")
    put_odd(tmp_path / "dog", kind)
    line = refusal(lambda: found_in(tmp_path))
    assert line.startswith(f"{tmp_path / 'dog'}")
    assert ODD_KINDS[kind] in line


@pytest.mark.parametrize("kind", ["pipe", "device", "loop"])
def test_what_stands_in_an_images_place_is_left_to_who_reads_it(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "cat/1.png")
    put_odd(tmp_path / "cat" / "2.png", kind)
    assert found_in(tmp_path) == ["cat/1.png", "cat/2.png"]


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("Cat", "cat", "upper and lower case"),
        ("STRASSE", "straße", "how their letters are coded"),
        ("caf\u00e9", "cafe\u0301", "how their letters are coded"),
    ],
)
def test_two_names_that_look_the_same_are_asked_about(tmp_path: Path, one: str, other: str, told: str) -> None:
    touch(tmp_path, f"{one}/1.png", f"{other}/2.png", "dog/3.png")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system takes them for one")
    line = refusal(lambda: find_classes(tmp_path))
    assert line.startswith(f"{tmp_path}: ")
    assert all(f"'{name}'" in line for name in (one, other))
    assert f"differ in {told} only: merge" in line


def test_a_test_folder_spelt_differently_is_named_with_what_it_may_be(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png")
    line = refusal(lambda: find_images(tmp_path, ["Cat"], base=tmp_path))
    assert line == f"{tmp_path / 'cat'}: there are no training images of a class of this name; did you mean 'Cat'?"

"""What tells the images of a split from others: what they hold, not where a copy of them lies."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_loader.datasets.contents import Contents, file_digests
from data_loader.datasets.file_set import FileSet
from data_loader.datasets.image_sets import ArraySet
from data_loader.transforms.crops import CentreCrop
from tests.odd_files import ODD_KINDS, put_odd

NAMES = [b"a.png", b"b/c.png", b"caf\xe9.png"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / os.fsdecode(name)).write_bytes(bytes([number]) * 100)
        os.utime(folder / os.fsdecode(name), ns=(0, number))
    return folder


def file_set(folder: Path, names: list[bytes] = NAMES) -> FileSet:
    return FileSet(str(folder), np.array(names), np.zeros(len(names), np.int64), CentreCrop(16, 18))


def told(contents: Contents) -> tuple[str, str, str]:
    return contents.quick, contents.times, contents.whole


def test_a_copy_elsewhere_is_told_apart_by_its_times_alone(files: Path, tmp_path: Path) -> None:
    before = file_set(files).contents()
    exact, touched = (shutil.copytree(files, tmp_path / name) for name in ("exact", "touched"))
    assert told(file_set(exact).contents()) == told(before)
    os.utime(touched / "a.png", ns=(0, 77))
    after = file_set(touched).contents()
    assert (after.quick, after.whole) == (before.quick, before.whole)
    assert after.times != before.times


def overwrite(folder: Path) -> None:
    """With as many bytes, at the same time."""
    (folder / "a.png").write_bytes(bytes(range(100)))
    os.utime(folder / "a.png", ns=(0, 0))


def lengthen(folder: Path) -> None:
    with (folder / "a.png").open("ab") as file:
        file.write(b"1")
    os.utime(folder / "a.png", ns=(0, 0))


def remove(folder: Path) -> None:
    (folder / "a.png").unlink()


@pytest.mark.parametrize("change", [overwrite, lengthen, remove])
def test_other_bytes_are_others_at_once(files: Path, change: Callable[[Path], None]) -> None:
    before = file_set(files).contents()
    whole = before.whole
    change(files)
    after = file_set(files).contents()
    assert after.quick != before.quick
    assert after.whole != whole


def test_other_names_and_another_order_are_others(files: Path) -> None:
    before = file_set(files).contents()
    assert file_set(files, NAMES[::-1]).contents().quick != before.quick
    (files / "a.png").rename(files / "z.png")
    assert file_set(files, [b"z.png", *NAMES[1:]]).contents().quick != before.quick


def test_of_many_files_few_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in the middle, of the same size and time, needs the digest of everything."""
    names = [b"%03d" % number for number in range(300)]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
        os.utime(tmp_path / os.fsdecode(name), ns=(0, 0))
    before = file_set(tmp_path, names).contents()
    whole, opened = before.whole, []
    monkeypatch.setattr("builtins.open", lambda path, *rest, real=open: opened.append(path) or real(path, *rest))
    assert file_set(tmp_path, names).contents().quick == before.quick
    assert len(opened) == 64
    monkeypatch.undo()
    unseen = next(name for name in names if str(tmp_path / os.fsdecode(name)) not in opened)
    (tmp_path / os.fsdecode(unseen)).write_bytes(b"xyz")
    os.utime(tmp_path / os.fsdecode(unseen), ns=(0, 0))
    after = file_set(tmp_path, names).contents()
    assert (after.quick, after.times) == (before.quick, before.times)
    assert after.whole != whole


def test_digests_are_those_of_sha256_and_empty_for_what_can_not_be_read(files: Path) -> None:
    paths = [str(files / "a.png"), str(files / "nowhere"), str(files / "b")]
    assert file_digests(paths) == [hashlib.sha256(bytes(100)).hexdigest(), "", ""]
    assert file_digests([]) == []
    assert file_set(files, []).contents().quick == file_set(files / "b", []).contents().quick


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_not_waited_for(files: Path, kind: str) -> None:
    before = file_set(files).contents()
    (files / "a.png").unlink()
    put_odd(files / "a.png", kind)
    after = file_set(files).contents()
    assert after.quick != before.quick
    assert after.whole


def test_images_in_memory_are_told_by_every_pixel_and_their_shape() -> None:
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).reshape(2, 3, 8, 8)
    targets = np.zeros(2, np.int64)
    before = ArraySet(images, targets).contents()
    assert told(ArraySet(images.clone(), targets).contents()) == told(before)
    changed = images.clone()
    changed[1, 2, 7, 7] += 1
    for other in (changed, images.flip(0), images.reshape(2, 3, 4, 16), images.transpose(2, 3)):
        assert ArraySet(other, targets).contents().quick != before.quick

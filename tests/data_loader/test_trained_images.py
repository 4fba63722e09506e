"""Images that turn up a second time are found by what they hold, and few files are read for it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_loader.data_loaders.image_lists import ImageListDataLoader
from data_loader.datasets import contents
from data_loader.datasets.file_set import FileSet
from data_loader.datasets.image_sets import ArraySet
from data_loader.trained_images import find_trained_on
from data_loader.transforms.crops import CentreCrop

NONE: dict[bytes, str] = {}


def arrays(images: torch.Tensor) -> ArraySet:
    return ArraySet(images, np.zeros(len(images), np.int64))


def files(folder: Path, **content: bytes) -> FileSet:
    folder.mkdir(exist_ok=True)
    for name, text in content.items():
        (folder / name).write_bytes(text)
    return FileSet(str(folder), np.array([*map(os.fsencode, content)]), np.zeros(len(content)), CentreCrop(16, 18))


def test_images_in_memory_are_the_same_where_all_pixels_are() -> None:
    trained = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tested = 255 - trained[:10]
    tested[[2, 7]] = trained[[49, 0]]
    tested[3] = trained[3]
    tested[3, 0, 0, 0] ^= 1
    for kept in (NONE, {b"a": "00"}):
        found = find_trained_on(arrays(tested), arrays(trained), kept)
        assert found is not None
        assert found.tolist() == [2, 7]
    other_shape = find_trained_on(arrays(tested.reshape(10, 3, 2, 8)), arrays(trained), NONE)
    assert other_shape is not None
    assert len(other_shape) == 0


def test_files_are_the_same_where_all_bytes_are_whatever_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those that agree in size and in their last 4 KiB are read whole."""
    end = bytes(5000)
    trained = files(tmp_path / "trained", a=b"1" + end, b=b"2" + end, c=b"other size", d=b"same sizE", empty=b"")
    tested = files(
        tmp_path / "tested", x=b"2" + end, y=b"3" + end, z=b"another size", v=b"same sizF", empty=b"", w=b"1" + end
    )
    read: list[str] = []
    monkeypatch.setattr(contents, "read_file", lambda path, real=contents.read_file: read.append(path) or real(path))
    found = find_trained_on(tested, trained, NONE)
    assert found is not None
    assert found.tolist() == [0, 5]
    assert sorted(Path(path).name for path in read) == ["a", "b", "w", "x", "y"]


def test_what_a_run_has_kept_needs_no_training_file(tmp_path: Path) -> None:
    tested = files(tmp_path / "tested", x=b"one", y=b"two", z=b"three")
    gone = FileSet(str(tmp_path / "gone"), np.array([b"a", b"b"]), np.zeros(2), CentreCrop(16, 18))
    assert find_trained_on(tested, gone, NONE) is None
    kept = {b"a": hashlib.sha256(b"three").hexdigest(), b"held out": hashlib.sha256(b"one").hexdigest()}
    found = find_trained_on(tested, gone, kept)
    assert found is not None
    assert found.tolist() == [2]


def test_files_and_arrays_can_not_be_compared(tmp_path: Path) -> None:
    tested, trained = files(tmp_path / "tested", x=b"one"), arrays(torch.zeros((1, 3, 4, 4), dtype=torch.uint8))
    assert find_trained_on(tested, trained, NONE) is None
    assert find_trained_on(trained, tested, NONE) is None


def test_images_are_public_where_all_lists_are_published_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name}.jpg 0\n")
    lists: dict[str, Any] = {f"{name}_txt": str(tmp_path / f"{name}.txt") for name in ("train", "test")}
    loader = ImageListDataLoader(data_dir=str(tmp_path), batch_size=4, num_classes=1, **lists)
    assert not loader.is_public
    known = {tmp_path / "train.txt"}
    monkeypatch.setattr("data_loader.list_loader.is_published", lambda path: path in known)
    assert not loader.is_public
    known.add(tmp_path / "test.txt")
    assert loader.is_public
    loader.freeze(tmp_path / "run")  # everybody has these: their digests are not worth the reading
    assert not (tmp_path / "run").exists()

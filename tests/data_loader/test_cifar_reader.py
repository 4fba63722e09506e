"""CIFAR's reader: right, strict about damage, and never executing what it reads."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from data_loader.data_loaders import cifar
from data_loader.data_loaders.cifar import read_cifar
from tests.data_loader.cifar_files import write_cifar, write_python2_pickle
from tests.data_loader.refusals import refusal
from tests.odd_files import ODD_KINDS, put_odd

pytestmark = pytest.mark.usefixtures("no_network")

CLASSES = (10, 100)
FOLDERS = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
TRAINING_FILE = {10: "data_batch_3", 100: "train"}


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both CIFARs with 400 training and 200 test images."""
    folder = tmp_path_factory.mktemp("small")
    for num_classes in CLASSES:
        write_cifar(folder, num_classes, train_images=400, test_images=200)
    return folder


@pytest.fixture
def own_files(small_files: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(small_files, tmp_path / "data")


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("train", [True, False])
def test_cifar_is_read_as_torchvision_reads_it(
    small_files: Path, monkeypatch: pytest.MonkeyPatch, num_classes: int, train: bool
) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy on pickles of Python 2
        expected = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[num_classes](str(small_files), train=train)
    split = read_cifar(str(small_files), num_classes, train=train, verify=False)
    assert split.images.dtype == torch.uint8
    assert split.images.shape == (400 if train else 200, 3, 32, 32)
    assert np.array_equal(split.images.permute(0, 2, 3, 1).numpy(), expected.data)
    assert split.targets.dtype == np.int64
    assert split.targets.tolist() == expected.targets
    assert split.class_names == expected.classes


@pytest.mark.parametrize("num_classes", CLASSES)
def test_files_pickled_by_python_3_are_read_too(own_files: Path, num_classes: int) -> None:
    expected = read_cifar(str(own_files), num_classes, train=True, verify=False)
    for path in (own_files / FOLDERS[num_classes]).iterdir():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = pickle.loads(path.read_bytes(), encoding="latin1")
        path.write_bytes(pickle.dumps(content))
    split = read_cifar(str(own_files), num_classes, train=True, verify=False)
    assert torch.equal(split.images, expected.images)
    assert np.array_equal(split.targets, expected.targets)


def test_the_written_files_are_pickles_of_python_2_with_byte_strings(small_files: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = pickle.loads((small_files / "cifar-100-python" / "train").read_bytes(), encoding="bytes")
    assert set(content) == {b"filenames", b"batch_label", b"fine_labels", b"coarse_labels", b"data"}
    assert content[b"data"].shape == (400, 3072)
    assert content[b"coarse_labels"] == [label // 5 for label in content[b"fine_labels"]]
    assert isinstance(content[b"filenames"][0], bytes)


def test_without_names_the_classes_are_numbered(own_files: Path) -> None:
    (own_files / FOLDERS[10] / "batches.meta").unlink()
    split = read_cifar(str(own_files), 10, train=False, verify=False)
    assert split.class_names == [str(label) for label in range(10)]


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("verify", [True, False])
def test_missing_files_are_reported(tmp_path: Path, num_classes: int, verify: bool) -> None:
    line = refusal(lambda: read_cifar(str(tmp_path / "nowhere"), num_classes, train=True, verify=verify))
    assert line.startswith(str(tmp_path / "nowhere"))
    assert "data_dir" in line
    assert ("no network in the tests" in line) == verify


@pytest.mark.parametrize("num_classes", CLASSES)
def test_files_with_other_checksums_are_not_taken_for_cifar(own_files: Path, num_classes: int) -> None:
    before = {path: path.read_bytes() for path in own_files.rglob("*") if path.is_file()}
    for train in (True, False):
        line = refusal(lambda train=train: read_cifar(str(own_files), num_classes, train=train, verify=True))
        assert f"holds no intact CIFAR-{num_classes}" in line
        assert "data_loader.args.verify=false" in line
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("num_classes", CLASSES)
def test_the_published_files_are_those_that_torchvision_knows(num_classes: int) -> None:
    published = cifar._PUBLISHED[num_classes]
    known = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[num_classes]
    assert published.folder == known.base_folder
    assert list(published.train.items()) == [tuple(each) for each in known.train_list]
    assert list(published.test.items()) == [tuple(each) for each in known.test_list]
    assert (*published.meta, published.names_key) == tuple(known.meta[key] for key in ("filename", "md5", "key"))


@pytest.mark.parametrize("num_classes", CLASSES)
def test_files_with_the_published_checksums_are_read_and_checked_anew_each_time(
    own_files: Path, num_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = cifar._PUBLISHED[num_classes]
    folder = own_files / published.folder

    def digest(name: str) -> str:
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    own = published._replace(
        train={name: digest(name) for name in published.train},
        test={name: digest(name) for name in published.test},
        meta=(published.meta[0], digest(published.meta[0])),
    )
    monkeypatch.setitem(cifar._PUBLISHED, num_classes, own)
    for train in (True, False):
        unchecked = read_cifar(str(own_files), num_classes, train=train, verify=False)
        checked = read_cifar(str(own_files), num_classes, train=train, verify=True)
        assert torch.equal(checked.images, unchecked.images)
    with (folder / TRAINING_FILE[num_classes]).open("ab") as file:
        file.write(b"0")
    line = refusal(lambda: read_cifar(str(own_files), num_classes, train=True, verify=True))
    assert f"{TRAINING_FILE[num_classes]} has another checksum than the published file" in line


def test_a_download_with_another_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Response(io.BytesIO):
        url = None
        length = 1000

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response(b"x" * 1000))
    assert "holds no intact CIFAR-10" in refusal(lambda: read_cifar(str(tmp_path), 10, train=True, verify=True))


@pytest.mark.parametrize("num_classes", CLASSES)
def test_a_cut_file_is_refused(own_files: Path, num_classes: int) -> None:
    path = own_files / FOLDERS[num_classes] / TRAINING_FILE[num_classes]
    content = path.read_bytes()
    for length in [0, 1, 2, 3, 10, *range(50, len(content), len(content) // 25), len(content) - 1]:
        path.write_bytes(content[:length])
        line = refusal(lambda: read_cifar(str(own_files), num_classes, train=True, verify=False))
        assert str(path) in line, length
    path.unlink()
    line = refusal(lambda: read_cifar(str(own_files), num_classes, train=True, verify=False))
    assert line.startswith(f"{path}: no such file")


def labelled(labels: Any, count: int = 2, width: int = 3072) -> dict[str, Any]:
    return {"data": np.zeros((count, width), np.uint8), "fine_labels": labels}


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"data": np.zeros((2, 3072), np.uint8)},
        {"fine_labels": [0, 1]},
        labelled([0, 1], width=3000),
        labelled([0, 1, 2]),
        labelled([0]),
        labelled([0, 100]),
        labelled([0, -1]),
        labelled([], count=0),
        labelled(["a", "b"]),
        labelled([[0], [1]]),
        {"data": "text", "fine_labels": [0, 1]},
    ],
    ids=str,
)
def test_a_file_with_other_content_is_refused(own_files: Path, content: Any) -> None:
    write_python2_pickle(own_files / "cifar-100-python" / "test", content)
    line = refusal(lambda: read_cifar(str(own_files), 100, train=False, verify=False))
    assert "cifar-100-python" in line


def pixels_of(array: np.ndarray) -> dict[str, Any]:
    return {"data": array, "fine_labels": [0, 1]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pixels_of(np.full((2, 3072), 0.5)), "whole numbers from 0 to 255; they are of type float64"),
        (pixels_of(np.full((2, 3072), np.nan, np.float32)), "they are of type float32"),
        (pixels_of(np.full((2, 3072), 256)), "they are 256 to 256"),
        (pixels_of(np.full((2, 3072), -1, np.int8)), "they are -1 to -1"),
        (pixels_of(np.ones((2, 3072), bool)), "they are of type bool"),
        (pixels_of(np.full((2, 3072), None)), "they are of type object"),
        (pixels_of(np.zeros((2, 32, 32, 3), np.uint8)), "it is of shape (2, 32, 32, 3)"),
        ({"data": [[0] * 3072] * 2, "fine_labels": [0, 1]}, "it is a list"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0.5, 1]}, "must be whole numbers; got a float"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [True, 1]}, "got a bool"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": np.array([0.0, 1.0])}, "no list of whole numbers"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 10**30]}, "beyond all classes"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": {0: 1}}, "no list of whole numbers in 'fine_labels'"),
    ],
)
def test_what_is_no_pixel_and_no_label_is_refused(own_files: Path, content: Any, reason: str) -> None:
    path = own_files / "cifar-100-python" / "test"
    path.write_bytes(pickle.dumps(content, protocol=2))
    line = refusal(lambda: read_cifar(str(own_files), 100, train=False, verify=False))
    assert line.startswith(f"{path}: not in CIFAR's format")
    assert reason in line


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16])
def test_whole_numbers_of_any_type_are_pixels_and_labels(own_files: Path, kind: type) -> None:
    pixels = np.arange(2 * 3072).reshape(2, 3072) % 256
    content = {"data": pixels.astype(kind), "fine_labels": np.array([7, 99], kind)}
    (own_files / "cifar-100-python" / "test").write_bytes(pickle.dumps(content, protocol=2))
    split = read_cifar(str(own_files), 100, train=False, verify=False)
    assert np.array_equal(split.images.reshape(2, 3072).numpy(), pixels)
    assert split.targets.tolist() == [7, 99]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({}, "must be a list of names"),
        ({"label_names": "abcdefghij"}, "must be a list of names"),
        ({"label_names": [0] * 10}, "must be a list of names"),
        ({"label_names": [*"abcdefghi", ""]}, "must be a list of names"),
        ({"label_names": [*"abcdefghi"]}, "9 different names; expected 10"),
        ({"label_names": [*"abcdefghia"]}, "9 different names; expected 10"),
        (["a"], "it holds a list"),
    ],
)
def test_names_of_another_form_are_refused(own_files: Path, names: Any, reason: str) -> None:
    path = own_files / FOLDERS[10] / "batches.meta"
    path.write_bytes(pickle.dumps(names))
    line = refusal(lambda: read_cifar(str(own_files), 10, train=False, verify=False))
    assert line.startswith(f"{path}: not in CIFAR's format")
    assert reason in line


BOMBS = {  # each would take gigabytes out of some bytes
    "a place in the memo far away": b"\x80\x02}r\xff\xff\xff\x7f.",
    "the same as text": b"}p2147483647\n.",
    "bytes that double": b"\x80\x02}U\x04datac_codecs\nencode\nU\x02abU\x03hex\x86Rs.",
    "a shape alone": b"\x80\x02}U\x04datacnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x02u1\x86Rs.",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_small_file_takes_no_large_memory(own_files: Path, content: bytes) -> None:
    path = own_files / "cifar-100-python" / "test"
    path.write_bytes(content)
    line = refusal(lambda: read_cifar(str(own_files), 100, train=False, verify=False))
    assert "refused" in line or "can't hold an array of shape (2147483647,)" in line


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("kind", ODD_KINDS)
@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_what_is_no_file_is_refused_by_name(own_files: Path, name: str, kind: str, verify: bool) -> None:
    path = own_files / "cifar-100-python" / name
    path.unlink()
    put_odd(path, kind)
    line = refusal(lambda: read_cifar(str(own_files), 100, train=True, verify=verify))
    assert line.startswith(f"{path}: ")
    assert ODD_KINDS[kind] in line


def test_a_file_of_terabytes_is_refused_unread(own_files: Path) -> None:
    with (own_files / "cifar-100-python" / "train").open("r+b") as file:
        file.truncate(1 << 40)
    assert "too many" in refusal(lambda: read_cifar(str(own_files), 100, train=True, verify=False))


def test_a_class_without_training_images_is_refused(own_files: Path) -> None:
    images = {"data": np.zeros((99, 3072), np.uint8), "fine_labels": list(range(99))}
    write_python2_pickle(own_files / "cifar-100-python" / "train", images)
    line = refusal(lambda: read_cifar(str(own_files), 100, train=True, verify=False))
    assert "1 of the classes have no training image" in line


class Harmful:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ["train", "test", "meta"])
def test_a_cifar_file_with_a_call_inside_is_refused_and_not_executed(
    own_files: Path, tmp_path: Path, name: str, protocol: int
) -> None:
    target = tmp_path / "executed"
    path = own_files / "cifar-100-python" / name
    for harmful in (
        Harmful(os.mkdir, str(target)),
        Harmful(os.system, f"mkdir {target}"),
        Harmful(eval, f"__import__('os').mkdir({str(target)!r})"),
        Harmful(Path.mkdir, target),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = pickle.loads(path.read_bytes(), encoding="latin1") if path.stat().st_size > 1000 else {}
        path.write_bytes(pickle.dumps({**content, "extra": harmful}, protocol=protocol))
        line = refusal(lambda: read_cifar(str(own_files), 100, train=name != "test", verify=False))
        assert "refused" in line
        assert not target.exists()
        path.write_bytes(b"")
    pickle.loads(pickle.dumps(Harmful(os.mkdir, str(target)), protocol=protocol))
    assert target.exists()  # the trap does work where it is sprung

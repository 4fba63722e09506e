"""Readers of CIFAR, Fashion-MNIST and the digits: right, strict about damage, and never executing what they read."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import struct
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from data_loader.datasets.archives import read_cifar, read_digits, read_fashion_mnist
from tests.data_loader.cifar_files import write_cifar, write_fashion_mnist, write_idx, write_python2_pickle
from utils.errors import UserError

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


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(*arguments: object, **options: object) -> NoReturn:
        raise URLError("no network in the tests")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def refusal(read: Callable[[], object]) -> str:
    """The one line that a reader refuses with."""
    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- CIFAR ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("train", [True, False])
def test_cifar_is_read_as_torchvision_reads_it(
    small_files: Path, monkeypatch: pytest.MonkeyPatch, num_classes: int, train: bool
) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy on pickles of Python 2
        expected = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[num_classes](str(small_files), train=train)
    archive = read_cifar(str(small_files), num_classes, train=train, verify=False)
    assert archive.images.dtype == torch.uint8
    assert archive.images.shape == (400 if train else 200, 3, 32, 32)
    assert np.array_equal(archive.images.permute(0, 2, 3, 1).numpy(), expected.data)
    assert archive.targets.dtype == np.int64
    assert archive.targets.tolist() == expected.targets
    assert archive.class_names == expected.classes


@pytest.mark.parametrize("num_classes", CLASSES)
def test_files_pickled_by_python_3_are_read_too(own_files: Path, num_classes: int) -> None:
    expected = read_cifar(str(own_files), num_classes, train=True, verify=False)
    for path in (own_files / FOLDERS[num_classes]).iterdir():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = pickle.loads(path.read_bytes(), encoding="latin1")
        path.write_bytes(pickle.dumps(content))
    archive = read_cifar(str(own_files), num_classes, train=True, verify=False)
    assert torch.equal(archive.images, expected.images)
    assert np.array_equal(archive.targets, expected.targets)


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
    archive = read_cifar(str(own_files), 10, train=False, verify=False)
    assert archive.class_names == [str(label) for label in range(10)]


@pytest.mark.parametrize("num_classes", CLASSES)
@pytest.mark.parametrize("verify", [True, False])
def test_missing_files_are_told(tmp_path: Path, num_classes: int, verify: bool) -> None:
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
    assert f"{path}: no such file" in refusal(lambda: read_cifar(str(own_files), num_classes, train=True, verify=False))


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


def test_a_class_without_training_images_is_told(own_files: Path) -> None:
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


# --- Fashion-MNIST ----------------------------------------------------------------------------------------------


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    return write_fashion_mnist(tmp_path / "fashion", train_images=60, test_images=20)


def idx_content(path: Path) -> np.ndarray:
    """An IDX file's array, after the format's description: 00 00, type, dimensions, sizes (big endian), data."""
    raw = gzip.decompress(path.read_bytes())
    assert raw[:3] == b"\0\0\x08"
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw[4 + 4 * raw[3] :], np.uint8).reshape(shape)


@pytest.mark.parametrize(("train", "prefix", "count"), [(True, "train", 60), (False, "t10k", 20)])
@pytest.mark.parametrize("verify", [True, False])
def test_fashion_mnist_is_read_from_its_four_files(
    fashion: Path, train: bool, prefix: str, count: int, verify: bool
) -> None:
    archive = read_fashion_mnist(str(fashion), train=train, verify=verify)
    grey = idx_content(fashion / f"{prefix}-images-idx3-ubyte.gz")
    assert grey.shape == (count, 28, 28)
    assert archive.images.shape == (count, 3, 28, 28)
    assert all(np.array_equal(archive.images[:, channel].numpy(), grey) for channel in range(3))
    assert archive.targets.tolist() == idx_content(fashion / f"{prefix}-labels-idx1-ubyte.gz").tolist()
    assert archive.targets.dtype == np.int64
    assert archive.class_names[0] == "T-shirt/top"
    assert len(archive.class_names) == 10


def test_fashion_mnist_is_read_from_torchvisions_folder_too(fashion: Path, tmp_path: Path) -> None:
    expected = read_fashion_mnist(str(fashion), train=True, verify=False)
    raw = tmp_path / "other" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in fashion.iterdir():
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    archive = read_fashion_mnist(str(tmp_path / "other"), train=True, verify=False)
    assert torch.equal(archive.images, expected.images)
    assert np.array_equal(archive.targets, expected.targets)


@pytest.mark.parametrize("verify", [True, False])
def test_missing_fashion_mnist_is_told(fashion: Path, verify: bool) -> None:
    (fashion / "train-labels-idx1-ubyte.gz").unlink()
    line = refusal(lambda: read_fashion_mnist(str(fashion), train=True, verify=verify))
    assert ("holds no intact Fashion-MNIST" if verify else "no such file") in line
    read_fashion_mnist(str(fashion), train=False, verify=verify)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
def test_damaged_fashion_mnist_is_refused_or_right(fashion: Path, name: str) -> None:
    expected = read_fashion_mnist(str(fashion), train=True, verify=False)
    content = (fashion / name).read_bytes()
    refusals = []
    for position in range(0, len(content), max(len(content) // 120, 1)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        for spoilt in (bytes(damaged), content[:position]):
            (fashion / name).write_bytes(spoilt)
            try:
                archive = read_fashion_mnist(str(fashion), train=True, verify=False)
            except UserError as error:
                refusals.append(str(error))
            else:  # a bit of gzip's header that says nothing of the content
                assert torch.equal(archive.images, expected.images)
                assert np.array_equal(archive.targets, expected.targets)
    assert len(refusals) > 60
    assert all(line.startswith(str(fashion)) and "\n" not in line for line in refusals)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((20, 28), np.uint8), np.arange(20) % 10),
        (np.zeros((20, 28, 28), np.uint8), np.arange(19) % 10),
        (np.zeros((20, 28, 28), np.uint8), np.arange(20) % 11),
        (np.zeros((20, 28, 28), np.uint8), np.arange(20) % 9),
        (np.zeros((20, 28, 28), np.uint8), (np.arange(20) % 10)[:, None]),
        (np.zeros((0, 28, 28), np.uint8), np.arange(0)),
    ],
    ids=["no images", "a label too few", "a label too high", "an empty class", "labels in a table", "nothing"],
)
def test_fashion_mnist_with_other_content_is_refused(fashion: Path, images: np.ndarray, labels: np.ndarray) -> None:
    write_idx(fashion / "train-images-idx3-ubyte.gz", images)
    write_idx(fashion / "train-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    assert "not Fashion-MNIST" in refusal(lambda: read_fashion_mnist(str(fashion), train=True, verify=False))


def test_an_idx_file_of_another_type_is_refused(fashion: Path) -> None:
    floats = struct.pack(">HBBI", 0, 0x0D, 1, 1) + struct.pack(">f", 1.0)
    (fashion / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(floats))
    assert "not in MNIST's format" in refusal(lambda: read_fashion_mnist(str(fashion), train=True, verify=False))


# --- digits -----------------------------------------------------------------------------------------------------


def test_the_digits_are_split_by_class_and_complete() -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415

    train, test = (read_digits("", train=split, verify=True) for split in (True, False))
    everything = load_digits()
    assert np.bincount(test.targets).tolist() == [50] * 10
    assert (np.bincount(train.targets) + 50).tolist() == np.bincount(everything.target).tolist()
    assert train.images.shape[1:] == test.images.shape[1:] == (3, 16, 16)
    for label in range(10):  # the last fifty of each class are for testing
        originals = everything.images[everything.target == label]
        for archive, part in ((train, originals[:-50]), (test, originals[-50:])):
            mean = archive.images[archive.targets == label].float().mean((1, 2, 3)).numpy()
            assert np.abs(mean - part.mean((1, 2)) * 255 / 16).max() < 1.5  # interpolation about keeps the mean


def test_digits_are_interpolated_bilinearly_between_pixel_centres() -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415

    grey = load_digits().images[0] * 255 / 16
    along = np.clip(np.arange(16) / 2 - 0.25, 0, 7)  # the centre of a pixel of 16 among those of 8
    low = np.minimum(along.astype(int), 6)
    weight = along - low
    rows = grey[low] * (1 - weight)[:, None] + grey[low + 1] * weight[:, None]
    expected = rows[:, low] * (1 - weight) + rows[:, low + 1] * weight
    first = read_digits("", train=True, verify=True).images[0]
    assert all(np.abs(first[channel].numpy() - expected).max() <= 0.51 for channel in range(3))

"""Fashion-MNIST's reader: right from either layout, and strict about damage."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from data_loader.data_loaders.fashion_mnist import read_fashion_mnist
from tests.data_loader.cifar_files import write_fashion_mnist, write_idx
from tests.data_loader.refusals import refusal
from tests.odd_files import ODD_KINDS, put_odd
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("no_network")


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
    split = read_fashion_mnist(str(fashion), train=train, verify=verify)
    grey = idx_content(fashion / f"{prefix}-images-idx3-ubyte.gz")
    assert grey.shape == (count, 28, 28)
    assert split.images.shape == (count, 3, 28, 28)
    assert all(np.array_equal(split.images[:, channel].numpy(), grey) for channel in range(3))
    assert split.targets.tolist() == idx_content(fashion / f"{prefix}-labels-idx1-ubyte.gz").tolist()
    assert split.targets.dtype == np.int64
    assert split.class_names[0] == "T-shirt/top"
    assert len(split.class_names) == 10


def test_fashion_mnist_is_read_from_torchvisions_folder_too(fashion: Path, tmp_path: Path) -> None:
    expected = read_fashion_mnist(str(fashion), train=True, verify=False)
    raw = tmp_path / "other" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in fashion.iterdir():
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    split = read_fashion_mnist(str(tmp_path / "other"), train=True, verify=False)
    assert torch.equal(split.images, expected.images)
    assert np.array_equal(split.targets, expected.targets)


@pytest.mark.parametrize("verify", [True, False])
def test_missing_fashion_mnist_is_reported(fashion: Path, verify: bool) -> None:
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
                split = read_fashion_mnist(str(fashion), train=True, verify=False)
            except UserError as error:
                refusals.append(str(error))
            else:  # a bit of gzip's header that says nothing of the content
                assert torch.equal(split.images, expected.images)
                assert np.array_equal(split.targets, expected.targets)
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
    line = refusal(lambda: read_fashion_mnist(str(fashion), train=True, verify=False))
    assert "not Fashion-MNIST" in line or "not in MNIST's format" in line


@pytest.mark.parametrize(
    ("header", "size", "reason"),
    [
        ((0x0803, 20, 28, 28), 20 * 784 + 1, "holds more than 15680 bytes"),
        ((0x0803, 20, 28, 28), 20 * 784 - 1, "it holds 15679 bytes"),
        ((0x0801, 15680), 15680, "magic number is 0x0801, not 0x0803"),
        ((0x0D03, 20, 28, 28), 15680, "magic number is 0x0d03, not 0x0803"),
        ((0x01000803, 20, 28, 28), 15680, "not 0x0803"),
        ((0x0803, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF), 10, "its shape is (4294967295, "),
        ((0x0803, 20, 0, 28), 0, "its shape is (20, 0, 28)"),
        ((0x0803, 20), 0, "requires a buffer"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_an_idx_file_holds_what_its_header_says(
    fashion: Path, header: tuple[int, ...], size: int, reason: str, packed: bool
) -> None:
    path = fashion / "t10k-images-idx3-ubyte.gz"
    content = struct.pack(f">{len(header)}I", *header) + bytes(size)
    path.write_bytes(gzip.compress(content))
    if not packed:
        raw = fashion / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
            (raw / name).write_bytes(gzip.decompress((fashion / f"{name}.gz").read_bytes()))
        path.unlink()
        path = raw / path.stem
    line = refusal(lambda: read_fashion_mnist(str(fashion), train=False, verify=False))
    assert line.startswith(f"{path}: damaged or not in MNIST's format")
    assert reason in line


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_refused_by_name(fashion: Path, kind: str, verify: bool) -> None:
    path = fashion / "train-labels-idx1-ubyte.gz"
    path.unlink()
    put_odd(path, kind)
    line = refusal(lambda: read_fashion_mnist(str(fashion), train=True, verify=verify))
    assert line.startswith(f"{path}: ")
    assert ODD_KINDS[kind] in line


def test_an_idx_file_of_another_type_is_refused(fashion: Path) -> None:
    floats = struct.pack(">HBBI", 0, 0x0D, 1, 1) + struct.pack(">f", 1.0)
    (fashion / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(floats))
    assert "not in MNIST's format" in refusal(lambda: read_fashion_mnist(str(fashion), train=True, verify=False))

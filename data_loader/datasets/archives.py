"""Readers of the data sets that fit in memory: CIFAR-10/100, scikit-learn's digits, Fashion-MNIST.

Each returns the images as uint8 [N, 3, H, W] and the labels as int64 [N], in file order.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import warnings
import zlib
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from utils.errors import UserError

_DIGITS_TEST_IMAGES = 50  # of each class
_CIFAR_CLASSES = {10: datasets.CIFAR10, 100: datasets.CIFAR100}


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images of one split and the names of their classes."""

    images: Tensor
    targets: np.ndarray
    class_names: list[str]


def read_cifar(data_dir: str, num_classes: int, *, train: bool, verify: bool) -> LabelledImages:
    """CIFAR-10 or CIFAR-100 in its published file format.

    Args:
        data_dir: folder that holds (or will hold) `cifar-10-batches-py` or `cifar-100-python`.
        num_classes: 10 or 100.
        train: the training split, else the test split.
        verify: compare checksums, and download the set where it is missing; else read any data in this format.

    Raises:
        UserError: the files are missing and can't be downloaded, or aren't in CIFAR's format.
    """
    kind = _CIFAR_CLASSES[num_classes]
    root = Path(data_dir)
    folder = root / kind.base_folder
    if verify:  # files that are there and differ are somebody's: they are refused, never replaced by a download
        fetches = not folder.exists()
        _download(lambda: kind(data_dir, train=train, download=fetches), f"CIFAR-{num_classes}", root)
    parts = [_read_cifar_file(folder / name) for name, _ in (kind.train_list if train else kind.test_list)]
    label_key = "labels" if "labels" in parts[0] else "fine_labels"
    try:
        images = np.concatenate([np.asarray(part["data"], np.uint8) for part in parts]).reshape(-1, 3, 32, 32)
        targets = np.concatenate([np.asarray(part[label_key], np.int64) for part in parts])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{folder}: not CIFAR-{num_classes}: no images and labels of its form ({error!r})") from None
    _check_labels(folder, f"CIFAR-{num_classes}", images, targets, num_classes, train=train)
    meta = folder / kind.meta["filename"]
    names = list(_read_cifar_file(meta).get(kind.meta["key"], ())) if meta.is_file() else []
    if len(names) != num_classes:
        names = [str(label) for label in range(num_classes)]
    return LabelledImages(torch.from_numpy(images), targets, names)


def read_digits(data_dir: str, *, train: bool, verify: bool) -> LabelledImages:
    """scikit-learn's digits, 16×16 by bilinear interpolation; the last 50 images of each class are the test split.

    They come with scikit-learn: `data_dir` and `verify` have nothing to do.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second, and only this reader needs it

    digits = load_digits()
    targets = digits.target.astype(np.int64)
    by_class = [np.flatnonzero(targets == label) for label in range(10)]
    cut = slice(None, -_DIGITS_TEST_IMAGES) if train else slice(-_DIGITS_TEST_IMAGES, None)
    chosen = np.sort(np.concatenate([indices[cut] for indices in by_class]))
    images = torch.from_numpy(digits.images[chosen]).float().mul(255 / 16)[:, None]
    images = torch.nn.functional.interpolate(images, size=(16, 16), mode="bilinear").round().to(torch.uint8)
    return LabelledImages(images.repeat(1, 3, 1, 1), targets[chosen], [str(label) for label in range(10)])


def read_fashion_mnist(data_dir: str, *, train: bool, verify: bool) -> LabelledImages:
    """Fashion-MNIST, 28×28, the grey channel three times.

    Reads the four published `.gz` files lying in `data_dir`, else torchvision's copy below it, which is downloaded
    where it is missing. `verify: false` never downloads.

    Raises:
        UserError: the files are missing and can't be downloaded, or are damaged.
    """
    root, prefix = Path(data_dir), "train" if train else "t10k"
    files = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    if not all((root / f"{name}.gz").is_file() for name in files):
        if verify:
            _download(lambda: datasets.FashionMNIST(data_dir, train=train, download=True), "Fashion-MNIST", root)
        root = root / "FashionMNIST" / "raw"
    pixels, labels = (_read_idx(root / name) for name in files)
    if pixels.ndim != 3:
        raise UserError(f"{root}: not Fashion-MNIST: {pixels.shape} pixels and {labels.shape} labels")
    names = list(datasets.FashionMNIST.classes)
    _check_labels(root, "Fashion-MNIST", pixels, labels, len(names), train=train)
    images = torch.from_numpy(pixels)[:, None].repeat(1, 3, 1, 1)
    return LabelledImages(images, labels.astype(np.int64), names)


def _check_labels(
    folder: Path, name: str, images: np.ndarray, targets: np.ndarray, num_classes: int, *, train: bool
) -> None:
    """Raise a `UserError` unless each image has a label of some class, and each class a training image."""
    if targets.ndim != 1 or len(targets) != len(images) or len(images) == 0:
        raise UserError(f"{folder}: not {name}: {len(images)} images and labels of shape {targets.shape}")
    found = np.unique(targets)
    if found[0] < 0 or found[-1] >= num_classes:
        raise UserError(f"{folder}: not {name}: labels are 0 to {num_classes - 1}; got {found[0]} to {found[-1]}")
    if train and len(found) < num_classes:
        raise UserError(f"{folder}: not {name}: {num_classes - len(found)} of the classes have no training image")


def _download(fetch: Any, name: str, root: Path) -> None:
    """Let torchvision fetch and check a data set; what it prints goes nowhere, what it raises becomes one line."""
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*align.*")  # NumPy on pickles of NumPy 1
            fetch()
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{root}: holds no intact {name}, and none was downloaded ({reason}); put its files there, remove damaged "
            "ones, name another --data_dir, or read files of another origin with data_loader.args.verify=false"
        ) from None


class _PlainUnpickler(pickle.Unpickler):
    """Admits what CIFAR's files hold, NumPy arrays and plain containers, and nothing that could run code."""

    _ADMITTED = frozenset(
        (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"refused: it holds a {module}.{name}")
        return super().find_class(module, name)


def _read_cifar_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*align.*")
            content = _PlainUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (data_loader.args.data_dir)") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: damaged or not in CIFAR's format ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not in CIFAR's format: it holds a {type(content).__name__}")
    return content


def _read_idx(path: Path) -> np.ndarray:
    """An array of unsigned bytes in MNIST's IDX format, from `path` or `path`.gz."""
    packed = path.with_name(f"{path.name}.gz")
    try:
        content = gzip.decompress(packed.read_bytes()) if packed.is_file() else path.read_bytes()
        zeros, kind, dimensions = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
        if (zeros, kind) != (0, 8):
            raise ValueError("not an IDX file of bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, nor with .gz behind it (data_loader.args.data_dir)") from None
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: damaged or not in MNIST's format ({error})") from None

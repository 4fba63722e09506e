"""CIFAR-10 and CIFAR-100, long-tailed, balanced, and with a shifted test split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from data_loader.array_loaders import (
    ArrayDataLoader,
    ArrayDatasetSpec,
    ImbalanceArrayDataLoader,
    ShiftedTestArrayDataLoader,
)
from data_loader.datasets.labelled_images import LabelledImages, check_labels, download, refuse_what_is_no_file
from data_loader.datasets.plain_pickles import read_plain_pickle
from utils.errors import UserError

__all__ = [
    "CIFAR100DataLoader",
    "ImbalanceCIFAR10DataLoader",
    "ImbalanceCIFAR100DataLoader",
    "TestAgnosticImbalanceCIFAR100DataLoader",
]

_LARGE_LABEL = 1 << 31


class _Published(NamedTuple):
    """The published files: their names and MD5 digests."""

    folder: str
    train: dict[str, str]
    test: dict[str, str]
    meta: tuple[str, str]
    names_key: str


_PUBLISHED = {
    10: _Published(
        "cifar-10-batches-py",
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        {"test_batch": "40351d587109b95175f43aff81a1287e"},
        ("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        "label_names",
    ),
    100: _Published(
        "cifar-100-python",
        {"train": "16019d7e3df5f24257cddd939b257f8d"},
        {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        ("meta", "7973b15100ade9c7d40fb424638fde48"),
        "fine_label_names",
    ),
}


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
    published = _PUBLISHED[num_classes]
    root = Path(data_dir)
    folder = root / published.folder
    files = {folder / name: digest for name, digest in (published.train if train else published.test).items()}
    meta = folder / published.meta[0]
    refuse_what_is_no_file(*(folder / name for name in (*published.train, *published.test)), meta)
    if verify:  # files that are there and differ are somebody's: they are refused, never replaced by a download
        digests = files | {meta: published.meta[1]}
        fetch = partial(_require_intact, digests) if folder.exists() else partial(_fetch, data_dir, num_classes)
        download(fetch, f"CIFAR-{num_classes}", root)
    content = [(path, read_plain_pickle(path, "CIFAR")) for path in files]
    images = np.concatenate([_pixels(path, part) for path, part in content]).reshape(-1, 3, 32, 32)
    targets = np.concatenate([_labels(path, part) for path, part in content])
    check_labels(folder, f"CIFAR-{num_classes}", images, targets, num_classes, train=train)
    return LabelledImages(torch.from_numpy(images), targets, _class_names(meta, published.names_key, num_classes))


def _require_intact(digests: Mapping[Path, str]) -> None:
    """Raise OSError unless the files are there with these MD5 digests."""
    for path, digest in digests.items():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != digest:
                raise OSError(f"{path.name} has another checksum than the published file")


def _fetch(data_dir: str, num_classes: int) -> None:
    from torchvision import datasets  # noqa: PLC0415 - takes seconds, and only a download needs it

    kind = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[num_classes]
    kind(data_dir, download=True)


def _pixels(path: Path, part: dict[str, Any]) -> np.ndarray:
    """The images of a file: uint8, shape [N, 3072]."""
    pixels = part.get("data")
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] not in ((3072,), (3, 32, 32)):
        found = f"of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else f"a {type(pixels).__name__}"
        raise UserError(f"{path}: not in CIFAR's format: 'data' must be an array of shape (N, 3072); it is {found}")
    wrong = f"{path}: not in CIFAR's format: the pixels in 'data' must be whole numbers from 0 to 255; they are"
    if pixels.dtype.kind not in "iu":
        raise UserError(f"{wrong} of type {pixels.dtype}")
    if pixels.size and (pixels.min() < 0 or pixels.max() > 255):
        raise UserError(f"{wrong} {pixels.min()} to {pixels.max()}")
    return pixels.reshape(len(pixels), 3072).astype(np.uint8)


def _labels(path: Path, part: dict[str, Any]) -> np.ndarray:
    """The labels of a file: int64, shape [N]."""
    key = "labels" if "labels" in part else "fine_labels"
    labels = part.get(key)
    if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu":
        labels = labels.tolist()
    if not isinstance(labels, list):
        raise UserError(f"{path}: not in CIFAR's format: no list of whole numbers in {key!r}")
    for label in labels:
        if not isinstance(label, int | np.integer) or isinstance(label, bool):
            told = f"got a {type(label).__name__}"
            raise UserError(f"{path}: not in CIFAR's format: the labels in {key!r} must be whole numbers; {told}")
        if abs(int(label)) > _LARGE_LABEL:
            raise UserError(f"{path}: not in CIFAR's format: a label in {key!r} is beyond all classes")
    return np.array(labels, np.int64)


def _class_names(meta: Path, key: str, num_classes: int) -> list[str]:
    """The classes' names in a file that may be missing: numbers then."""
    if not meta.exists():
        return [str(label) for label in range(num_classes)]
    names = read_plain_pickle(meta, "CIFAR").get(key)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{meta}: not in CIFAR's format: {key!r} must be a list of names")
    if len(names) != num_classes or len(set(names)) != num_classes:
        told = f"{len(set(names))} different names; expected {num_classes}"
        raise UserError(f"{meta}: not in CIFAR's format: {key!r} holds {told}")
    return list(names)


_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_cifar_spec = partial(ArrayDatasetSpec, side=32, padding=4, flip=True, degrees=15.0)
_CIFAR100_LT = _cifar_spec(partial(read_cifar, num_classes=100), mean=_MEAN, std=_STD)


class ImbalanceCIFAR10DataLoader(ImbalanceArrayDataLoader):
    """CIFAR-10-LT."""

    # the published code asked for the policy and, on CIFAR-10, applied crop and flip only
    spec = _cifar_spec(partial(read_cifar, num_classes=10), mean=_MEAN, std=_STD, published_policy=False)


class ImbalanceCIFAR100DataLoader(ImbalanceArrayDataLoader):
    """CIFAR-100-LT."""

    spec = _CIFAR100_LT


class TestAgnosticImbalanceCIFAR100DataLoader(ShiftedTestArrayDataLoader):
    """CIFAR-100-LT with a shifted test split."""

    __test__ = False  # not a test, whatever its published name makes pytest think
    spec = _CIFAR100_LT


class CIFAR100DataLoader(ArrayDataLoader):
    """The balanced CIFAR-100."""

    spec = _cifar_spec(
        partial(read_cifar, num_classes=100), mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)
    )

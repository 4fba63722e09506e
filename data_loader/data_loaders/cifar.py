"""CIFAR-10 and CIFAR-100, long-tailed, balanced, and with a shifted test split."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

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
    from torchvision import datasets  # noqa: PLC0415 - takes seconds, and only this reader needs it

    kind = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[num_classes]
    root = Path(data_dir)
    folder = root / kind.base_folder
    files = [folder / name for name, _ in (*kind.train_list, *kind.test_list)]
    meta = folder / kind.meta["filename"]
    refuse_what_is_no_file(*files, meta)
    if verify:  # files that are there and differ are somebody's: they are refused, never replaced by a download
        fetches = not folder.exists()
        download(lambda: kind(data_dir, train=train, download=fetches), f"CIFAR-{num_classes}", root)
    of_split = files[: len(kind.train_list)] if train else files[len(kind.train_list) :]
    content = [(path, read_plain_pickle(path, "CIFAR")) for path in of_split]
    images = np.concatenate([_pixels(path, part) for path, part in content]).reshape(-1, 3, 32, 32)
    targets = np.concatenate([_labels(path, part) for path, part in content])
    check_labels(folder, f"CIFAR-{num_classes}", images, targets, num_classes, train=train)
    return LabelledImages(torch.from_numpy(images), targets, _class_names(meta, kind.meta["key"], num_classes))


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

"""CIFAR-10 and CIFAR-100, long-tailed, balanced, and with a shifted test split."""

from __future__ import annotations

import pickle
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets

from data_loader.array_loaders import (
    ArrayDataLoader,
    ArrayDatasetSpec,
    ImbalanceArrayDataLoader,
    ShiftedTestArrayDataLoader,
)
from data_loader.datasets.labelled_images import LabelledImages, check_labels, download
from utils.errors import UserError

__all__ = [
    "CIFAR100DataLoader",
    "ImbalanceCIFAR10DataLoader",
    "ImbalanceCIFAR100DataLoader",
    "TestAgnosticImbalanceCIFAR100DataLoader",
]

_CIFAR_CLASSES = {10: datasets.CIFAR10, 100: datasets.CIFAR100}


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
        download(lambda: kind(data_dir, train=train, download=fetches), f"CIFAR-{num_classes}", root)
    parts = [_read_cifar_file(folder / name) for name, _ in (kind.train_list if train else kind.test_list)]
    label_key = "labels" if "labels" in parts[0] else "fine_labels"
    try:
        images = np.concatenate([np.asarray(part["data"], np.uint8) for part in parts]).reshape(-1, 3, 32, 32)
        targets = np.concatenate([np.asarray(part[label_key], np.int64) for part in parts])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{folder}: not CIFAR-{num_classes}: no images and labels of its form ({error!r})") from None
    check_labels(folder, f"CIFAR-{num_classes}", images, targets, num_classes, train=train)
    meta = folder / kind.meta["filename"]
    names = list(_read_cifar_file(meta).get(kind.meta["key"], ())) if meta.is_file() else []
    if len(names) != num_classes:
        names = [str(label) for label in range(num_classes)]
    return LabelledImages(torch.from_numpy(images), targets, names)


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

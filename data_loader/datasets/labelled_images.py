"""What a reader of an in-memory data set returns, and what readers have in common: downloads, checks of labels."""

from __future__ import annotations

import io
import os
import pickle
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from utils.errors import UserError
from utils.files.reading import regular_file

MOST_BYTES = 1 << 31
"""Of a data set's file, and of what it unpacks to: ten times the largest of the published ones."""


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images of one split, in file order.

    Args:
        images: uint8, shape [N, 3, H, W].
        targets: int64, shape [N].
        class_names: a name for each class, length C.
    """

    images: Tensor
    targets: np.ndarray
    class_names: list[str]


def refuse_what_is_no_file(*paths: Path) -> None:
    """Raise a `UserError` for a pipe, a device or the like in place of a data set's file; it may be missing."""
    for path in paths:
        if os.path.lexists(path):
            regular_file(path, "file (data_loader.args.data_dir)")


def check_labels(
    folder: Path, name: str, images: np.ndarray, targets: np.ndarray, num_classes: int, *, train: bool
) -> None:
    """Raise a `UserError` unless each image has a label of some class, and each class a training image."""
    if targets.ndim != 1 or len(targets) != len(images) or len(images) == 0:
        raise UserError(f"{folder}: not {name}: {len(images)} images and labels of shape {targets.shape}")
    labels = np.unique(targets)
    if labels[0] < 0 or labels[-1] >= num_classes:
        raise UserError(f"{folder}: not {name}: labels are 0 to {num_classes - 1}; got {labels[0]} to {labels[-1]}")
    if train and len(labels) < num_classes:
        raise UserError(f"{folder}: not {name}: {num_classes - len(labels)} of the classes have no training image")


def download(fetch: Callable[[], object], name: str, root: Path) -> None:
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

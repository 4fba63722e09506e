"""Fashion-MNIST, long-tailed."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data_loader.array_loaders import ArrayDatasetSpec, ImbalanceArrayDataLoader
from data_loader.datasets.labelled_images import (
    MOST_BYTES,
    LabelledImages,
    check_labels,
    download,
    refuse_what_is_no_file,
)
from utils.errors import UserError

_BYTES = 0x0800  # an IDX file's first number: 8 for unsigned bytes, then the dimensions

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

__all__ = ["ImbalanceFashionMNISTDataLoader"]


def read_fashion_mnist(data_dir: str, *, train: bool, verify: bool) -> LabelledImages:
    """Fashion-MNIST, 28×28, the grey channel three times.

    Reads the four published `.gz` files lying in `data_dir`, else torchvision's copy below it, which is downloaded
    where it is missing. `verify: false` never downloads.

    Raises:
        UserError: the files are missing and can't be downloaded, or are damaged.
    """
    root, prefix = Path(data_dir), "train" if train else "t10k"
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    below = root / "FashionMNIST" / "raw"
    refuse_what_is_no_file(
        *(folder / f"{name}{ending}" for folder in (root, below) for name in names for ending in ("", ".gz"))
    )
    if not all((root / f"{name}.gz").is_file() for name in names):
        if verify:
            download(partial(_fetch, data_dir, train=train), "Fashion-MNIST", root)
        root = below
    pixels, labels = (_read_idx(root / name, dimensions) for name, dimensions in zip(names, (3, 1), strict=True))
    check_labels(root, "Fashion-MNIST", pixels, labels, len(CLASSES), train=train)
    images = torch.from_numpy(pixels)[:, None].repeat(1, 3, 1, 1)
    return LabelledImages(images, labels.astype(np.int64), list(CLASSES))


def _fetch(data_dir: str, *, train: bool) -> None:
    from torchvision import datasets  # noqa: PLC0415 - takes seconds, and only a download needs it

    datasets.FashionMNIST(data_dir, train=train, download=True)


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An array of unsigned bytes in MNIST's IDX format, from `path`.gz or `path`; images have 3 dimensions, labels 1.

    Its size is known from the header before its bytes are unpacked, and no more than these are.
    """
    packed = path.with_name(f"{path.name}.gz")
    source = packed if packed.is_file() else path
    try:
        with gzip.open(source) if source == packed else source.open("rb") as file:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", file.read(4 + 4 * dimensions))
            if magic != _BYTES | dimensions:
                raise ValueError(f"its magic number is {magic:#06x}, not {_BYTES | dimensions:#06x}")
            size = math.prod(shape)
            if size > MOST_BYTES or size == 0:
                raise ValueError(f"its shape is {tuple(shape)}")
            content = file.read(size + 1)
            if len(content) != size:
                more = "more than " * (len(content) > size)
                raise ValueError(f"its shape is {tuple(shape)}, and it holds {more}{min(len(content), size)} bytes")
        return np.frombuffer(content, np.uint8).reshape(shape).copy()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, nor with .gz behind it (data_loader.args.data_dir)") from None
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{source}: damaged or not in MNIST's format ({error})") from None


class ImbalanceFashionMNISTDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed Fashion-MNIST, 28×28 pixels."""

    spec = ArrayDatasetSpec(
        read_fashion_mnist, side=28, mean=(0.286,) * 3, std=(0.353,) * 3, padding=2, flip=True, degrees=0.0
    )

"""Fashion-MNIST, long-tailed."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets

from data_loader.array_loaders import ArrayDatasetSpec, ImbalanceArrayDataLoader
from data_loader.datasets.labelled_images import LabelledImages, check_labels, download
from utils.errors import UserError

__all__ = ["ImbalanceFashionMNISTDataLoader"]


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
            download(lambda: datasets.FashionMNIST(data_dir, train=train, download=True), "Fashion-MNIST", root)
        root = root / "FashionMNIST" / "raw"
    pixels, labels = (_read_idx(root / name) for name in files)
    if pixels.ndim != 3:
        raise UserError(f"{root}: not Fashion-MNIST: {pixels.shape} pixels and {labels.shape} labels")
    names = list(datasets.FashionMNIST.classes)
    check_labels(root, "Fashion-MNIST", pixels, labels, len(names), train=train)
    images = torch.from_numpy(pixels)[:, None].repeat(1, 3, 1, 1)
    return LabelledImages(images, labels.astype(np.int64), names)


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


class ImbalanceFashionMNISTDataLoader(ImbalanceArrayDataLoader):
    """Long-tailed Fashion-MNIST, 28×28 pixels."""

    spec = ArrayDatasetSpec(
        read_fashion_mnist, side=28, mean=(0.286,) * 3, std=(0.353,) * 3, padding=2, flip=True, degrees=0.0
    )

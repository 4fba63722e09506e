"""Writes synthetic images in the file formats of CIFAR-10, CIFAR-100 and Fashion-MNIST.

    python -m tests.data_loader.cifar_files --out data/synthetic --classes 100

The classes can be learnt, but not perfectly: each has a smooth pattern of colours, and an image is its class's
pattern at a random contrast, plus a smooth pattern of its own, plus noise. CIFAR's files are laid out as the published
ones, which Python 2 pickled (protocol 2, byte strings), so that they also exercise what reading those takes. Their
checksums differ from the published ones, of course: read them with `"verify": false`.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_CHUNK = 5_000  # images made at a time
_OWN_PATTERN = 1.4  # how strong an image's own random pattern is beside its class's: what makes the classes overlap


def write_cifar(
    folder: Path, num_classes: int, *, seed: int = 0, train_images: int = 50_000, test_images: int = 10_000
) -> Path:
    """Write `cifar-10-batches-py` or `cifar-100-python` below `folder`, every class equally often; returns `folder`."""
    random = np.random.default_rng([seed, num_classes])
    patterns = _class_patterns(random, num_classes, channels=3)
    train, test = (_balanced_labels(random, num_classes, count) for count in (train_images, test_images))
    if num_classes == 10:
        files = folder / "cifar-10-batches-py"
        parts = [(f"data_batch_{i + 1}", part) for i, part in enumerate(np.array_split(train, 5))]
        for name, labels in [*parts, ("test_batch", test)]:
            content = {
                "batch_label": f"{name.replace('_', ' ')} of synthetic images",
                "labels": labels.tolist(),
                "data": _images(random, patterns, labels, 32).reshape(len(labels), -1),
                "filenames": [f"{CIFAR10_NAMES[label]}_s_{i:06}.png" for i, label in enumerate(labels)],
            }
            write_python2_pickle(files / name, content)
        meta = {"num_cases_per_batch": len(test), "label_names": CIFAR10_NAMES, "num_vis": 3072}
        write_python2_pickle(files / "batches.meta", meta)
    else:
        files = folder / "cifar-100-python"
        for name, labels in (("train", train), ("test", test)):
            content = {
                "filenames": [f"class_{label:02}_s_{i:06}.png" for i, label in enumerate(labels)],
                "batch_label": f"{name}ing batch 1 of 1",
                "fine_labels": labels.tolist(),
                "coarse_labels": (labels // 5).tolist(),
                "data": _images(random, patterns, labels, 32).reshape(len(labels), -1),
            }
            write_python2_pickle(files / name, content)
        meta = {
            "fine_label_names": [f"class_{i:02}" for i in range(100)],
            "coarse_label_names": [f"group_{i:02}" for i in range(20)],
        }
        write_python2_pickle(files / "meta", meta)
    return folder


def write_fashion_mnist(folder: Path, *, seed: int = 0, train_images: int = 600, test_images: int = 100) -> Path:
    """Write the four `.gz` files of Fashion-MNIST into `folder`, every class equally often; returns `folder`."""
    random = np.random.default_rng([seed, 28])
    patterns = _class_patterns(random, 10, channels=1)
    for prefix, count in (("train", train_images), ("t10k", test_images)):
        labels = _balanced_labels(random, 10, count)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", _images(random, patterns, labels, 28)[:, 0])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of bytes in MNIST's IDX format, compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), compresslevel=1))


def write_python2_pickle(path: Path, content: Any) -> None:
    """Write dicts, lists, strings, small integers and arrays of bytes as Python 2's pickle, protocol 2, does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x80\x02")
        for piece in _pickled(content):
            file.write(piece)
        file.write(b".")


def _pickled(value: Any) -> Iterator[Any]:
    """The opcodes that push `value`; text is a byte string, as every plain string was in Python 2."""
    if isinstance(value, dict):
        yield b"}("
        for key, item in value.items():
            yield from _pickled(key)
            yield from _pickled(item)
        yield b"u"
    elif isinstance(value, list):
        yield b"]("
        for item in value:
            yield from _pickled(item)
        yield b"e"
    elif isinstance(value, str):
        raw = value.encode("latin1")
        yield b"T" + struct.pack("<i", len(raw)) + raw if len(raw) > 255 else b"U" + bytes([len(raw)]) + raw
    elif isinstance(value, int):
        yield b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    else:
        yield from _pickled_array(value)


def _pickled_array(array: np.ndarray) -> Iterator[Any]:
    """An array of bytes as NumPy 1 pickled it: an empty array, then its state (version, shape, dtype, order, bytes)."""
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    yield b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01("
    for side in array.shape:
        yield b"J" + struct.pack("<i", side)
    yield b"tcnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    yield b"T" + struct.pack("<i", array.nbytes)
    yield array.data
    yield b"tb"


def _class_patterns(random: np.random.Generator, num_classes: int, channels: int) -> np.ndarray:
    """The slowest 4×4 cosine waves of each class's pattern: float32, shape [C, channels, 16].

    Five neighbouring classes have half of theirs in common, as the fine classes of a coarse one.
    """
    own, common = (random.normal(size=(count, channels, 16)) for count in (num_classes, -(-num_classes // 5)))
    return ((own + common[np.arange(num_classes) // 5]) / np.sqrt(2)).astype(np.float32)


def _balanced_labels(random: np.random.Generator, num_classes: int, count: int) -> np.ndarray:
    return random.permutation(np.arange(count) % num_classes)


def _images(random: np.random.Generator, patterns: np.ndarray, labels: np.ndarray, side: int) -> np.ndarray:
    """An image for each label: uint8, shape [N, channels, side, side]."""
    wave = np.cos(np.pi * np.outer(np.arange(4), np.arange(side) + 0.5) / side)
    waves = (12 * np.einsum("iy,jx->ijyx", wave, wave)).reshape(16, -1).astype(np.float32)
    channels = patterns.shape[1]
    images = np.empty((len(labels), channels, side, side), np.uint8)
    pool = 2 * min(_CHUNK, len(labels)) * channels * side * side
    noise = random.integers(-25, 26, size=pool, dtype=np.int8)
    for start in range(0, len(labels), _CHUNK):
        chunk = labels[start : start + _CHUNK]
        contrast = random.uniform(0.6, 1.2, size=(len(chunk), 1, 1)).astype(np.float32)
        own = random.standard_normal((len(chunk), channels, 16), np.float32)
        made = (contrast * patterns[chunk] + _OWN_PATTERN * own) @ waves + 128  # [N, channels, side · side]
        shift = int(random.integers(noise.size - made.size + 1))  # the noise is read from a new place each time
        made += noise[shift : shift + made.size].reshape(made.shape)
        images[start : start + len(chunk)] = made.clip(0, 255, out=made).reshape(-1, channels, side, side)
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder, as for --data_dir")
    parser.add_argument("--classes", type=int, choices=(10, 100), required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_cifar(arguments.out, arguments.classes, seed=arguments.seed)


if __name__ == "__main__":
    main()

"""Small data sets of drawn pictures, the same bytes at every call: CIFAR's files, list files, a folder for each class.

Only NumPy and Pillow are used, nothing of this project, so that its code of any time can be given the same files.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LONG_TAIL = (40, 28, 20, 14, 10, 7, 5, 4, 3, 2)
_FOLDERS = {"apple": 40, "birch": 12, "cedar": 4}
_DAMAGED = 5  # a training image of the first folder
_SIZES = ((40, 30), (30, 40), (48, 36), (33, 33), (56, 28))  # width × height, in turn
_GREY_EVERY = 7


def write_cifar10(folder: Path, *, train_per_class: int = 60, test_per_class: int = 10) -> None:
    """`folder/cifar-10-batches-py`: five training batches, a test batch and the classes' names, as pickles."""
    files = folder / "cifar-10-batches-py"
    files.mkdir(parents=True)
    random = np.random.default_rng(10)
    train, test = (random.permutation(np.repeat(np.arange(10), count)) for count in (train_per_class, test_per_class))
    batches = {f"data_batch_{i + 1}": part for i, part in enumerate(np.array_split(train, 5))} | {"test_batch": test}
    number = 0
    for name, labels in batches.items():
        rows = []
        for label in labels.tolist():
            rows.append(np.asarray(picture(label, number, size=(32, 32))).transpose(2, 0, 1).reshape(-1))
            number += 1
        content = {"batch_label": name, "labels": labels.tolist(), "data": np.stack(rows)}
        (files / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {"label_names": [f"kind {label}" for label in range(10)]}
    (files / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


def write_list_files(
    folder: Path, *, train_counts: Sequence[int] = LONG_TAIL, val_per_class: int = 2, test_per_class: int = 4
) -> None:
    """`folder/images/*/*.png` of several sizes, some of them grey, and `folder/{train,val,test}.txt` that name them."""
    counts = {
        "train": train_counts,
        "val": [val_per_class] * len(train_counts),
        "test": [test_per_class] * len(train_counts),
    }
    drawn = [0] * len(train_counts)
    for split, split_counts in counts.items():
        lines = []
        for label, count in enumerate(split_counts):
            for number in range(drawn[label], drawn[label] + count):
                name = f"kind{label}/{number:03}.png"
                _save(folder / "images" / name, picture(label, number))
                lines.append(f"{name} {label}\n")
            drawn[label] += count
        (folder / f"{split}.txt").write_text("".join(lines))


def write_class_folders(folder: Path) -> None:
    """`folder/{apple,birch,cedar}`: 40, 12 and 4 images, JPEG and PNG in turn; one of the first is cut in half."""
    for label, (name, count) in enumerate(_FOLDERS.items()):
        for number in range(count):
            _save(folder / name / f"{name}_{number:02}.{('jpg', 'png')[number % 2]}", picture(label, number))
    (damaged,) = folder.glob(f"*/apple_{_DAMAGED:02}.*")
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])


def picture(label: int, number: int, size: tuple[int, int] | None = None) -> Image.Image:
    """The `number`-th picture of a class: its coarse pattern, blurred with one of the picture's own, and noise."""
    common, own = np.random.default_rng([label]), np.random.default_rng([label, number])
    coarse = (common.integers(0, 256, (4, 4, 3)) + own.integers(0, 256, (4, 4, 3))) // 2
    width, height = size or _SIZES[number % len(_SIZES)]
    smooth = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth).astype(np.int64) + own.integers(-20, 21, (height, width, 3))
    drawn = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    grey = size is None and number % _GREY_EVERY == _GREY_EVERY - 1
    return drawn.convert("L") if grey else drawn


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if path.suffix == ".png" else "JPEG")
    path.write_bytes(buffer.getvalue())

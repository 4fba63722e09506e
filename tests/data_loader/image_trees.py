"""Writes miniatures of ImageNet-LT, iNaturalist 2018, Places-LT and of a user's own folder: real files, real lists.

    python -m tests.data_loader.image_trees --out data/miniature

The pictures are scikit-learn's digits, enlarged and tinted, in several sizes; up to ten classes, so the class of a
picture is its digit. Lists have the published form and names, below `data_txt/` as in the repository.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SIZES = ((40, 30), (30, 40), (48, 36), (33, 33), (56, 28))  # width × height, in turn
LONG_TAIL = (40, 28, 20, 14, 10, 7, 5, 4, 3, 2)
_GREY_EVERY = 7  # every seventh picture is a grey JPEG


@dataclass(frozen=True)
class Tree:
    """What has been written: the keys of `data_loader.args` that name it, and the images of each training class."""

    args: dict[str, Any]
    class_counts: list[int]

    @property
    def data_dir(self) -> Path:
        return Path(self.args["data_dir"])


def write_imagenet_lt(
    root: Path, *, train_counts: Sequence[int] = LONG_TAIL, val_per_class: int = 2, test_per_class: int = 8
) -> Tree:
    """`root/data/imagenet/{train,val}/nXXXXXXXX/*.JPEG` and `root/data_txt/ImageNet_LT/*.txt`."""
    split_names = {
        "train": lambda label, i: f"train/{_wnid(label)}/{_wnid(label)}_{i}.JPEG",
        "val": lambda label, i: f"train/{_wnid(label)}/{_wnid(label)}_{10_000 + i}.JPEG",
        "test": lambda label, i: f"val/{_wnid(label)}/ILSVRC2012_val_{label * 1000 + i:08}.JPEG",
    }
    lists = root / "data_txt" / "ImageNet_LT"
    counts = [train_counts, [val_per_class] * len(train_counts), [test_per_class] * len(train_counts)]
    _write_splits(root / "data" / "imagenet", lists, "ImageNet_LT", split_names, counts)
    args = {f"{split}_txt": str(lists / f"ImageNet_LT_{split}.txt") for split in split_names}
    return _tree(root / "data" / "imagenet", args, train_counts)


def write_inaturalist(root: Path, *, train_counts: Sequence[int] = LONG_TAIL, eval_per_class: int = 3) -> Tree:
    """`root/data/iNaturalist/train_val2018/*/*/*.jpg` and `root/data_txt/iNaturalist18/*.txt`."""

    def name(split: str) -> Callable[[int, int], str]:
        kinds = ("Animalia", "Plantae")
        code = lambda label, i: hashlib.md5(f"{split}{label}/{i}".encode()).hexdigest()  # noqa: E731
        return lambda label, i: f"train_val2018/{kinds[label % 2]}/{label}/{code(label, i)}.jpg"

    lists = root / "data_txt" / "iNaturalist18"
    counts = [train_counts, [eval_per_class] * len(train_counts)]
    splits = {split: name(split) for split in ("train", "val")}
    _write_splits(root / "data" / "iNaturalist", lists, "iNaturalist18", splits, counts)
    args = {"train_txt": str(lists / "iNaturalist18_train.txt"), "eval_txt": str(lists / "iNaturalist18_val.txt")}
    return _tree(root / "data" / "iNaturalist", args, train_counts)


def write_places_lt(
    root: Path, *, train_counts: Sequence[int] = LONG_TAIL, val_per_class: int = 2, test_per_class: int = 10
) -> Tree:
    """`root/data/places/{data_256,val_256}/…` and `root/data_txt/Places_LT_v2/*.txt`."""
    split_names = {
        "train": lambda label, i: f"data_256/{_place(label)[0]}/{_place(label)}/{i:08}.jpg",
        "val": lambda label, i: f"data_256/{_place(label)[0]}/{_place(label)}/{10_000 + i:08}.jpg",
        "test": lambda label, i: f"val_256/Places365_val_{label * 1000 + i:08}.jpg",
    }
    lists = root / "data_txt" / "Places_LT_v2"
    counts = [train_counts, [val_per_class] * len(train_counts), [test_per_class] * len(train_counts)]
    _write_splits(root / "data" / "places", lists, "Places_LT", split_names, counts)
    args = {f"{split}_txt": str(lists / f"Places_LT_{split}.txt") for split in split_names}
    return _tree(root / "data" / "places", args, train_counts)


def write_user_folder(root: Path, *, broken: bool = True) -> Tree:
    """`root/{apple,birch,cedar}`: 40, 12 and 4 files, among them one truncated JPEG, a PNG with alpha, a CMYK JPEG."""
    counts = {"apple": 40, "birch": 12, "cedar": 4}
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            save_picture(root / name / f"{name}_{i:02}.jpg", digit_picture(label, i))
    alpha = root / "birch" / "birch_03.jpg"
    digit_picture(1, 3).convert("RGBA").save(alpha.with_suffix(".png"))
    alpha.unlink()
    digit_picture(2, 1).convert("CMYK").save(root / "cedar" / "cedar_01.jpg")
    if broken:
        truncate(root / "apple" / "apple_05.jpg")
    return Tree({"data_dir": str(root)}, list(counts.values()))


def truncate(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def digit_picture(digit: int, number: int) -> Image.Image:
    """The `number`-th picture of a digit: RGB, or grey every seventh time."""
    pixels = _digits()[digit][number % len(_digits()[digit])]
    random = np.random.default_rng([digit, number])
    tint = random.uniform(0.55, 1.0, 3)
    coloured = np.clip(pixels[:, :, None] * tint * 15 + random.uniform(0, 30, 3), 0, 255).astype(np.uint8)
    picture = Image.fromarray(coloured).resize(SIZES[number % len(SIZES)], Image.Resampling.BICUBIC)
    return picture.convert("L") if number % _GREY_EVERY == _GREY_EVERY - 1 else picture


def save_picture(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "JPEG", quality=92)


@cache
def _digits() -> list[np.ndarray]:
    digits = load_digits()
    return [digits.images[digits.target == digit] for digit in range(10)]


def _write_splits(
    data_dir: Path,
    lists: Path,
    prefix: str,
    names: dict[str, Callable[[int, int], str]],
    counts: Sequence[Sequence[int]],
) -> None:
    """Write each split's pictures and list; every split takes the digits behind those of the one before."""
    lists.mkdir(parents=True, exist_ok=True)
    used = [0] * len(counts[0])
    for (split, name), split_counts in zip(names.items(), counts, strict=True):
        lines = []
        for label, i in _each(split_counts):
            save_picture(data_dir / name(label, i), digit_picture(label, used[label] + i))
            lines.append(f"{name(label, i)} {label}\n")
        used = [before + count for before, count in zip(used, split_counts, strict=True)]
        (lists / f"{prefix}_{split}.txt").write_text("".join(lines))


def _each(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((label, i) for label, count in enumerate(counts) for i in range(count))


def _tree(data_dir: Path, lists: dict[str, str], train_counts: Sequence[int]) -> Tree:
    return Tree({"data_dir": str(data_dir), **lists, "num_classes": len(train_counts)}, list(train_counts))


def _wnid(label: int) -> str:
    return f"n{1440764 + label:08}"


def _place(label: int) -> str:
    return ("airfield", "alley", "bakery", "beach", "canyon", "castle", "desert", "field", "garden", "harbor")[label]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write below")
    root = parser.parse_args().out
    for write in (write_imagenet_lt, write_inaturalist, write_places_lt):
        print(write(root).args)
    print(write_user_folder(root / "data" / "user").args)


if __name__ == "__main__":
    main()

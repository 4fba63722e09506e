"""Small data sets in files with a cache of their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_loader.cache.building import Built, build_cache
from data_loader.cache.layout import RECORD, CacheFiles
from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from tests.data_loader import image_trees

IMAGE_SIZE = 16
SMALLEST = 28  # shorter side of the pictures of `image_trees`
LARGEST = 36


def user_folder(root: Path) -> Path:
    """38, 10 and 2 images to train on, grey, CMYK and transparent ones among them, and 2 of each class to test on."""
    image_trees.write_user_folder(root / "train", broken=False)
    for folder in sorted((root / "train").iterdir()):
        for path in sorted(folder.iterdir())[-2:]:
            target = root / "test" / folder.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    return root


def loader_of(data_dir: Path, **args: Any) -> ImageFolderDataLoader:
    usual = {"batch_size": 8, "num_workers": 0, "image_size": IMAGE_SIZE, "seed": 3}
    return ImageFolderDataLoader(**{"data_dir": str(data_dir), **usual, **args})


def cached(data_dir: Path, folder: Path, *, side: int, form: str = "raw", **args: Any) -> ImageFolderDataLoader:
    """A loader with a cache, which need not be there."""
    return loader_of(data_dir, cache=str(folder), cache_side=side, cache_format=form, **args)


def built(loader: ImageFolderDataLoader, *, workers: int = 0) -> Built:
    return build_cache(loader, workers=workers)


def files_of(loader: ImageFolderDataLoader) -> CacheFiles:
    assert loader.cache is not None
    return CacheFiles.of(Path(loader.cache), loader.cache_kind, loader.cached_names().tolist())


def records_of(loader: ImageFolderDataLoader) -> np.ndarray:
    return np.fromfile(files_of(loader).records, RECORD)


def write_class(root: Path, pictures: dict[str, Image.Image], **options: Any) -> Path:
    """A folder of one class and of a test image."""
    for name, picture in {**pictures, "../../test/a/0.png": Image.new("RGB", (40, 40))}.items():
        path = (root / "train" / "a" / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, **options)
    return root

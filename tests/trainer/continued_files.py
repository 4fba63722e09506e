"""Data sets in files that the runs of `continued_keys.py` are begun on, and others in their place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_loader.cache.building import build_cache
from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from tests.data_loader.cifar_files import write_cifar
from tests.data_loader.image_trees import Tree, write_imagenet_lt, write_inaturalist, write_user_folder

_IN_FILES = {"batch_size": 32, "num_workers": 0, "image_size": 16}
_IN_MEMORY = {"batch_size": 100, "num_workers": 0, "verify": False, "imb_factor": 0.5}


class DataSets:
    """Sections `data_loader` by name; what they need is written at the first use.

    Args:
        folder: to write into.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def section(self, name: str) -> dict[str, Any]:
        """The section of that name."""
        section: dict[str, Any] = getattr(self, name)
        return section

    def other(self, path: str) -> str:
        """A folder or list with other images in it, in place of the one at `path`."""
        source, target = Path(path), Path(f"{path}-other")
        if source.is_file():
            target.write_text("".join(source.read_text().splitlines(keepends=True)[:-1]))
        elif not target.exists():
            shutil.copytree(source, target)
            if any(source.glob("cifar*")):
                write_cifar(target, 10, seed=1, train_images=100, test_images=10)
            for picture in target.glob("*/*_00.jpg"):
                picture.unlink()
        return str(target)

    @cached_property
    def cifar(self) -> dict[str, Any]:
        folder = write_cifar(self.folder / "cifar", 10, train_images=100, test_images=10)
        return {"type": "ImbalanceCIFAR10DataLoader", "args": {**_IN_MEMORY, "data_dir": str(folder)}}

    @cached_property
    def shifted(self) -> dict[str, Any]:
        folder = write_cifar(self.folder / "cifar", 100, train_images=200, test_images=200)
        return {"type": "TestAgnosticImbalanceCIFAR100DataLoader", "args": {**_IN_MEMORY, "data_dir": str(folder)}}

    @cached_property
    def lists(self) -> dict[str, Any]:
        tree = write_imagenet_lt(self.folder / "lists", train_counts=[3] * 10, val_per_class=1, test_per_class=1)
        return _section("ImageNetLTDataLoader", tree)

    @cached_property
    def inaturalist(self) -> dict[str, Any]:
        tree = write_inaturalist(self.folder / "inaturalist", train_counts=[3] * 10, eval_per_class=1)
        return _section("iNaturalistDataLoader", tree)

    @cached_property
    def folders(self) -> dict[str, Any]:
        return _section("ImageFolderDataLoader", write_user_folder(self.folder / "folders", broken=False))

    @cached_property
    def split_folders(self) -> dict[str, Any]:
        """In `train/` and `test/`, which are the same images."""
        root = self.folder / "splits"
        for split in ("train", "test"):
            shutil.copytree(self.folders["args"]["data_dir"], root / split)
        return {**self.folders, "args": {**self.folders["args"], "data_dir": str(root)}}

    @cached_property
    def cached(self) -> dict[str, Any]:
        """With a cache of raw images of 20 pixels, beside which there are others in the same folder."""
        args = {**self.folders["args"], "cache": str(self.folder / "cache"), "cache_side": 20, "cache_format": "raw"}
        for changes in ({}, {"cache_side": 24}, {"cache_format": "jpeg"}):
            build_cache(ImageFolderDataLoader(**{**args, **changes}), workers=0)
        return {**self.folders, "args": args}

    @cached_property
    def microscope(self) -> dict[str, Any]:
        """Images of 16 bits with values from 200 to 3,500, in files that say that they lie on their side."""
        lying = Image.Exif()
        lying[0x0112] = 6

        def rewrite(picture: Image.Image, path: Path) -> None:
            values = 200 + np.array(picture.convert("L")).astype(np.uint16) * 12
            Image.fromarray(values).save(path.with_suffix(".png"), exif=lying)

        return self._rewritten("microscope", rewrite)

    @cached_property
    def photographs(self) -> dict[str, Any]:
        """JPEGs that are large against the network's images."""

        def rewrite(picture: Image.Image, path: Path) -> None:
            picture.convert("RGB").resize((240, 180)).save(path.with_suffix(".jpg"))

        return self._rewritten("photographs", rewrite)

    def _rewritten(self, name: str, rewrite: Callable[[Image.Image, Path], None]) -> dict[str, Any]:
        """The images of `folders` in other files, which `rewrite` writes, told a picture and its old path."""
        section = self.folders
        root = Path(shutil.copytree(section["args"]["data_dir"], self.folder / name))
        for path in root.glob("*/*.*"):
            with Image.open(path) as picture:
                picture.load()
            path.unlink()
            rewrite(picture, path)
        return {**section, "args": {**section["args"], "data_dir": str(root)}}


def _section(kind: str, tree: Tree) -> dict[str, Any]:
    return {"type": kind, "args": {**_IN_FILES, **tree.args}}

"""What the tests of data sets share."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch

from data_loader import data_loaders
from data_loader.array_loaders import ArrayDataLoader
from data_loader.datasets.labelled_images import LabelledImages
from data_loader.loader import ImageDataLoader
from tests.data_loader import image_trees
from utils.config.schema import fields_of


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads fail."""

    def urlopen(*arguments: object, **options: object) -> NoReturn:
        raise URLError("no network in the tests")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, image_trees.Tree]:
    """Small data sets in files: with lists, and in folders."""
    return {
        "lists": image_trees.write_imagenet_lt(tmp_path_factory.mktemp("lists")),
        "folders": image_trees.write_user_folder(tmp_path_factory.mktemp("folders"), broken=False),
    }


@pytest.fixture
def build(trees: dict[str, image_trees.Tree], monkeypatch: pytest.MonkeyPatch) -> Callable[..., ImageDataLoader]:
    """`build(name, **options)`: any loader of the registry, on small data of the kind that it asks for."""

    def build_loader(name: str, **options: Any) -> ImageDataLoader:
        kind = getattr(data_loaders, name)
        lists = [field for field in fields_of(kind) if field.endswith("_txt")]
        if issubclass(kind, ArrayDataLoader):
            monkeypatch.setattr(kind, "spec", replace(kind.spec, read=_read_noise(kind.spec.side)))
            arguments: dict[str, Any] = {"data_dir": ""}
        elif not lists:
            arguments = {**trees["folders"].args, "image_size": 28}
        else:
            files = trees["lists"].args
            named = {field: files[field if field in files else "test_txt"] for field in lists}
            arguments = {"data_dir": files["data_dir"], "num_classes": files["num_classes"], "image_size": 28, **named}
        return kind(**{"batch_size": 40, "num_workers": 0, "seed": 5, **arguments, **options})

    return build_loader


@cache
def _read_noise(side: int) -> Callable[..., LabelledImages]:
    """A reader of 10 classes with 100 training and 8 test images each."""

    @cache
    def read(data_dir: str, *, train: bool, verify: bool) -> LabelledImages:
        targets = np.arange(1000 if train else 80) % 10
        random = torch.Generator().manual_seed(int(train))
        images = torch.randint(1, 256, (len(targets), 3, side, side), dtype=torch.uint8, generator=random)
        return LabelledImages(images, targets, [str(label) for label in range(10)])

    return read

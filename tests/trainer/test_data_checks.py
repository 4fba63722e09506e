"""Data that training can't use: one line before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from data_loader.datasets.image_sets import ArraySet
from data_loader.loader import ImageDataLoader
from tests.trainer.small_runs import small_config
from trainer.config.run_config import RunConfig, run_config
from trainer.data_checks import require_images, require_normalisable_batches
from trainer.loaders import build_loader
from utils.config.parser import ConfigParser
from utils.errors import ConfigError


def built(**changes: Any) -> tuple[RunConfig, ImageDataLoader]:
    config = run_config(ConfigParser(small_config(**changes), source="the test"))
    return config, build_loader(config)


def test_a_validation_without_images_is_refused_only_where_there_is_to_be_one() -> None:
    for validate in (False, True):
        config, loader = built(
            data_loader__args__validation_split=0.1, data_loader__args__max_per_class=1, trainer__validate=validate
        )
        assert sum(loader.cls_num_list) == 1
        if validate:
            with pytest.raises(ConfigError, match=r"trainer\.validate: there are no validation images"):
                require_images(config, loader)
        else:
            require_images(config, loader)


def test_training_without_images_is_refused() -> None:
    config, loader = built()
    nothing = ArraySet(torch.zeros((0, 3, 16, 16), dtype=torch.uint8), np.zeros(0, np.int64))
    loader.splits = loader.splits.replaced(train=nothing)
    with pytest.raises(ConfigError, match="there are no training images"):
        require_images(config, loader)


@pytest.mark.parametrize(
    ("batch_size", "processes", "parts", "told"),
    [
        (1, 1, 1, "with 1 a batch of 1 leaves"),
        (2, 1, 1, None),
        (7, 1, 1, "with 7 a batch of 1 leaves"),
        (3, 2, 4, None),  # a group has two images at least
        (25, 2, 1, None),
        (7, 2, 3, "with 7 a batch of 1 over 2 processes in 3 micro-batches leaves"),
    ],
)
def test_a_single_image_of_a_single_pixel_is_refused(
    batch_size: int, processes: int, parts: int, told: str | None
) -> None:
    """Images of 32 pixels are one pixel in the last stage of the ImageNet networks."""
    config, loader = built(
        arch={"type": "ResNet10Model", "args": {"num_classes": 10, "num_experts": 2, "returns_feat": True}},
        data_loader__args__batch_size=batch_size,
    )
    assert loader.num_images == 78
    if told is None:
        require_normalisable_batches(config, loader, processes=processes, parts=parts)
        return
    with pytest.raises(ConfigError, match=rf"data_loader\.args\.batch_size: {told} BatchNorm a single image"):
        require_normalisable_batches(config, loader, processes=processes, parts=parts)


def test_single_images_of_more_pixels_are_trained_on() -> None:
    """The last stage of the CIFAR networks sees 4×4 pixels of a digit."""
    config, loader = built(data_loader__args__batch_size=1)
    require_normalisable_batches(config, loader, processes=1, parts=1)

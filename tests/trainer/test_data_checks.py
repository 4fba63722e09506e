"""Data that training can't use: one line before the first step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from base import RunState
from data_loader.datasets.image_sets import ArraySet
from data_loader.datasets.splits import Splits
from data_loader.loader import ImageDataLoader
from model.intervals import wilson_interval
from tests.trainer.small_runs import small_config
from trainer.config.run_config import RunConfig, run_config
from trainer.data_checks import find_data_warnings, how_sure, require_images, require_normalisable_batches
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


def test_what_is_to_be_known_of_classes_and_of_the_validation() -> None:
    """78 images: 20 of the first class down to 2; a tenth of each held out."""
    _, loader = built(data_loader__args__validation_split=0.1)
    held_out = len(loader.splits["validation"])
    *others, told = find_data_warnings(loader, validates=True)
    assert (
        find_data_warnings(loader, validates=False) == others == ["2 of 10 classes (8, 9) have a single training image"]
    )
    assert told.startswith(f"the best epoch is chosen by {held_out} validation images: an accuracy is then known to ±")
    low, high = wilson_interval(0.5, held_out)
    assert f"±{50 * (high - low):.0f} points (95 %)" in told
    assert find_data_warnings(built()[1], validates=True) == [], "500 test images"


def test_classes_with_one_image_and_without_test_images_are_named() -> None:
    _, loader = built(data_loader__args__max_per_class=1, data_loader__args__imb_factor=1.0)
    test = loader.splits["test"]
    loader.splits = loader.splits.replaced(test=test.subset(np.flatnonzero(test.targets != 3)))
    single, untested = find_data_warnings(loader, validates=False)
    names = ", ".join(loader.class_names[:5])
    assert single == f"10 of 10 classes ({names}, …) have a single training image"
    assert untested == f"1 of 10 classes ({loader.class_names[3]}) have no test image: their accuracy stays unknown"


def test_a_single_class_is_told() -> None:
    _, loader = built()
    nothing_else = {
        name: loader.splits[name].subset(np.flatnonzero(loader.splits[name].targets == 0)) for name in ("train", "test")
    }
    loader.splits = Splits({**nothing_else, "validation": nothing_else["test"]}, ["zero"])
    assert find_data_warnings(loader, validates=False) == ["there is a single class: nothing to tell apart"]


def test_of_the_best_accuracy_it_is_said_how_sure_it_is() -> None:
    told = ", val_accuracy 0.800 of 21 images, 95 % within 0.590 … 0.918"  # Wilson's formula by hand
    log = {"epoch": 3.0, "val_accuracy": 0.8, "val_balanced_accuracy": 0.6, "val_averaged_accuracy": 0.5}
    assert how_sure("val_accuracy", log, 21) == told
    assert how_sure("val_balanced_accuracy", log, 21) == told, "a mean of class accuracies is less sure still"
    assert how_sure("val_averaged_loss", log, 21).startswith(", val_averaged_accuracy 0.500 of 21 images")
    assert how_sure("val_loss", {"epoch": 3.0, "val_loss": 0.8}, 21) == how_sure("val_accuracy", None, 21) == ""
    for share, images in ((math.nan, 21), (math.inf, 21), (1.5, 21), (-0.1, 21), (0.8, 0)):
        assert how_sure("val_accuracy", {"val_accuracy": share}, images) == "", "no share of so many images"


def test_the_best_epochs_log_is_found_by_its_number() -> None:
    history = [{"epoch": 1.0, "val_accuracy": 0.8}, {"epoch": 2.0, "val_accuracy": 0.7}]
    assert RunState(epoch=2, best_epoch=1, history=history).best_log == history[0]
    assert RunState(epoch=2, history=history).best_log is None

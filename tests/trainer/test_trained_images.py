"""Test images that were trained on, of a public set in memory: counted, told, and no error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_loader.data_loaders.digits import ImbalanceDigitsDataLoader, read_digits
from data_loader.datasets.labelled_images import LabelledImages
from data_loader.run_data import RunData
from tests.trainer.small_runs import small_config
from trainer.config.run_config import run_config
from trainer.evaluation.trained_images import TrainedImages, trained_in_words
from trainer.loaders import build_loader
from utils.config.parser import ConfigParser

COPIED = (3, 100, 499)
"""Test images that are copies of training images."""


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Digits, with three training images among the test images: a checkpoint's content, as far as it counts here."""
    chosen = _selected(read_digits("", train=True, verify=True))

    def read(data_dir: str, *, train: bool, verify: bool) -> LabelledImages:
        images = read_digits(data_dir, train=train, verify=verify)
        if not train:
            images.images[list(COPIED)] = read_digits("", train=True, verify=True).images[chosen]
        return images

    monkeypatch.setattr(ImbalanceDigitsDataLoader, "spec", replace(ImbalanceDigitsDataLoader.spec, read=read))
    config = run_config(ConfigParser(small_config(), source="small.json"))
    loader = build_loader(config)
    return {
        "format_version": 1,
        "config": small_config(),
        "class_names": loader.class_names,
        "class_counts": loader.cls_num_list,
    }


def _selected(images: LabelledImages) -> np.ndarray:
    """Two training images that the long tail has, and one that it hasn't."""
    loader = ImbalanceDigitsDataLoader(batch_size=4, **_ARGS)
    rows = {row.tobytes() for row in loader.splits["train"].read(_ids(len(loader.targets))).numpy()}
    is_selected = np.array([row.tobytes() in rows for row in images.images.numpy()])
    return np.array([*np.flatnonzero(is_selected)[[0, -1]], np.flatnonzero(~is_selected)[0]])


_ARGS: dict[str, Any] = {"imb_factor": 0.1, "max_per_class": 20}


def _ids(count: int) -> np.ndarray:
    return np.stack([np.zeros(count, int), np.arange(count), np.zeros(count, int)], axis=1)


def found(content: dict[str, Any], **changes: Any) -> tuple[Any, str]:
    """What an evaluation with another configuration finds, and the line for above its table."""
    changed = small_config(**changes)
    config = run_config(ConfigParser(changed, source="small.json"))
    known = RunData.of(content, Path("nowhere"), changed["data_loader"], evaluates=True)
    tested = build_loader(config, known=known).of_split("test")
    indices = TrainedImages(config, content, known, allowed=False).search(tested)
    return None if indices is None else indices.tolist(), trained_in_words(tested, indices)


def test_public_images_that_were_trained_on_are_counted_and_told(contents: dict[str, Any]) -> None:
    """Only what the long tail had was trained on, by the run's own configuration, whatever the evaluation's says."""
    told = "warning: 2 of 500 test images were trained on, by their contents\n"
    assert found(contents) == ([3, 100], told)
    assert found(contents, data_loader__args__imb_factor=1.0, data_loader__args__data_dir="/nowhere") == (
        [3, 100],
        told,
    )


def test_images_that_are_others_than_the_run_counted_tell_nothing(contents: dict[str, Any]) -> None:
    contents["class_counts"] = [count + 1 for count in contents["class_counts"]]
    assert found(contents) == (None, "")


@pytest.mark.parametrize(
    "then", [None, {}, {"type": "Gone", "args": {"x": 1}}, {"type": "ImbalanceDigitsDataLoader", "args": {"x": 1}}]
)
def test_a_configuration_that_can_not_be_read_any_more_tells_nothing(contents: dict[str, Any], then: Any) -> None:
    contents["config"]["data_loader"] = then
    assert found(contents) == (None, "")


def test_without_a_record_the_configurations_training_images_count(contents: dict[str, Any]) -> None:
    del contents["format_version"]  # another program's checkpoint
    assert found(contents)[0] == [3, 100]

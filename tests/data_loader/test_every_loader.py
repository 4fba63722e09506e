"""Whatever the data set: splits by name, batches that carry their shard, and the same ones whoever reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from base import BaseDataLoader, shard_of
from data_loader import data_loaders
from data_loader.loader import ImageDataLoader
from tests.data_loader.epochs import inputs, same_inputs
from utils.config.schema import fields_of

Build = Callable[..., ImageDataLoader]
every_loader = pytest.mark.parametrize("name", data_loaders.__all__)


def test_the_published_loaders_are_there() -> None:
    published = {
        *("ImbalanceCIFAR10DataLoader", "ImbalanceCIFAR100DataLoader", "CIFAR100DataLoader", "ImageNetLTDataLoader"),
        *("TestAgnosticImbalanceCIFAR100DataLoader", "iNaturalistDataLoader"),
    }
    assert published <= set(data_loaders.__all__)
    with pytest.raises(AttributeError, match="no attribute 'MadeUpDataLoader'"):
        _ = data_loaders.MadeUpDataLoader


@every_loader
def test_constructing_a_loader_reads_nothing(name: str) -> None:
    kind = getattr(data_loaders, name)
    assert issubclass(kind, BaseDataLoader)
    dummies: dict[str, Any] = {"batch_size": 4, "num_classes": 3}
    required = [field for field, argument in fields_of(kind).items() if argument.required]
    loader = kind(**{field: dummies.get(field, "/nowhere") for field in required})
    assert loader.batch_size == 4
    assert "splits" not in loader.__dict__


@every_loader
def test_splits_have_names_and_share_what_has_been_read(build: Build, name: str) -> None:
    loader = build(name)
    assert loader.split == "train"
    for split in ("train", "validation", "test"):
        other = loader.of_split(split)
        assert (type(other), other.split) == (type(loader), split)
        assert other.splits is loader.splits
        assert (other.cls_num_list, other.class_names) == (loader.cls_num_list, loader.class_names)
        assert other.num_images == len(other.targets)
    assert loader.split_validation().split == "validation"
    assert loader.of_split("test").of_split("train").num_images == loader.num_images
    with pytest.raises(KeyError):
        loader.of_split("tests")


@every_loader
def test_a_held_out_validation_part_is_a_split_of_its_own(build: Build, name: str) -> None:
    whole, cut = build(name), build(name, validation_split=0.2)
    held_out = np.bincount(cut.of_split("validation").targets, minlength=cut.num_classes)
    assert (held_out + cut.cls_num_list).tolist() == whole.cls_num_list
    assert not cut.validates_on_test_split
    assert cut.of_split("test").targets.tolist() == whole.of_split("test").targets.tolist()


@every_loader
@pytest.mark.parametrize("size", [1, 3])
def test_batches_carry_their_shard_and_their_transform(build: Build, name: str, size: int) -> None:
    loader = build(name)
    whole = list(loader.epoch(2))
    for rank in range(size):
        batches = list(loader.epoch(2, rank=rank, size=size))
        assert len(batches) == len(whole) == len(loader)
        for step, batch in enumerate(batches):
            shard = shard_of(loader.images_of_step(step), rank, size)
            assert batch.shard == shard
            rows = slice(shard.begin, shard.end)
            assert torch.equal(batch.images, whole[step].images[rows])
            assert torch.equal(batch.targets, whole[step].targets[rows])
            assert np.array_equal(batch.sample_ids, whole[step].sample_ids[rows])
            assert torch.equal(batch.view(), whole[step].view()[rows])
            assert (batch.images.dtype, batch.view().dtype) == (torch.uint8, torch.float32)


@every_loader
def test_workers_change_nothing(build: Build, name: str) -> None:
    alone, helped = (build(name, randaugm=True, num_workers=workers) for workers in (0, 2))
    for epoch in (0, 1):
        assert same_inputs(inputs(alone, epoch), inputs(helped, epoch))

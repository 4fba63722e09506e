"""Images in memory lie on the GPU, where there is one, and batches are gathered there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from base import Batch, Step
from base.base_data_loader import CPU
from data_loader.datasets.image_sets import ArraySet, BatchDataset, ReadBatch
from data_loader.loader import ImageDataLoader
from tests.data_loader.epochs import digits, inputs, same_inputs
from tests.trainer.imagined_gpu import GPU, ImaginedGPU
from tests.trainer.small_runs import small_config

pytestmark = pytest.mark.usefixtures("_quick")

NARROW = {"arch__args__layer2_output_dim": 8, "arch__args__layer3_output_dim": 8}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ImaginedGPU:
    return ImaginedGPU(monkeypatch)


def pixels(gpu: ImaginedGPU, loader: ImageDataLoader) -> Tensor:
    """Those that a loader takes its batches from."""
    with gpu.there():
        assert isinstance(loader.images, ArraySet)
        return loader.images.images


def first_batch(loader: ImageDataLoader) -> Batch:
    """As `epoch` makes it, without torch's DataLoader, which draws numbers on the CPU when it begins."""
    loader._planner.start(loader.epoch_sample_ids(1), first_step=0, every=1, rank=0, size=1)
    read = BatchDataset(loader.images, None, shares_memory=False).__getitems__(next(iter(loader._planner)))
    assert isinstance(read, ReadBatch)
    assert isinstance(read.images, Tensor)
    return Batch(read.images, torch.from_numpy(read.targets), read.sample_ids, read.shard, loader.transform)


def test_a_step_copies_no_image(tmp_path: Path, gpu: ImaginedGPU) -> None:
    trainer = gpu.trainer(tmp_path, small_config(**NARROW))
    loader = trainer.loaders["train"]
    assert isinstance(loader, ImageDataLoader)
    assert pixels(gpu, loader).device == GPU
    trainer.method.start_epoch(1)
    with gpu.watched() as watcher:
        trainer.train_step({"train": first_batch(loader)}, Step(1, 0))
        before = watcher.copies
        batch = first_batch(loader)
        assert watcher.copies == before + 1, "which images they are"
        trainer.train_step({"train": batch}, Step(1, 1))
    assert (batch.images.device, batch.images.dtype) == (GPU, torch.uint8)
    assert watcher.copies == before + 4, "and labels, crops, partners"


@pytest.mark.usefixtures("gpu")
def test_batches_of_workers_are_pinned_for_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process on the CPU of a machine with GPUs must not touch them: they may be full, or somebody else's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, pinned in ((CPU, False), (GPU, True)):
        loader = digits(randaugm=True, num_workers=1)
        loader.prepare_views(("train",), device)
        assert loader._torch_loader.num_workers == 1
        assert loader._torch_loader.pin_memory is pinned


def test_other_splits_lie_there_as_well(gpu: ImaginedGPU) -> None:
    loader = digits(validation_split=0.1)
    loader.prepare_views(("train",), GPU)
    for name in ("validation", "test"):
        assert pixels(gpu, loader.of_split(name)).device == GPU
    assert all(loader.splits[name].images.device == CPU for name in ("train", "validation", "test"))


@pytest.mark.parametrize("part", [1 / 16, 1 / 15.9])
def test_they_take_a_sixteenth_of_the_free_memory_at_most(gpu: ImaginedGPU, part: float) -> None:
    loader = digits()
    gpu.free = loader.splits["train"].images.nbytes / part
    loader.prepare_views(("train",), GPU)
    assert pixels(gpu, loader).device == (GPU if part == 1 / 16 else CPU)


@pytest.mark.parametrize(
    ("arguments", "views"), [({"randaugm": True}, ("train",)), ({"trivialaugm": True}, ("train",)), ({}, ("strong",))]
)
def test_what_the_cpu_augments_image_by_image_stays_there(gpu: ImaginedGPU, arguments: Any, views: Any) -> None:
    loader = digits(**arguments)
    loader.prepare_views(views, GPU)
    assert pixels(gpu, loader).device == CPU


@pytest.mark.parametrize("arguments", [{}, {"cutout": True, "balanced": True}, {"validation_split": 0.2}], ids=str)
def test_on_the_cpu_nothing_changes(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> None:
    """There "moved" images are the images; batches are the same without any move, from every step, in every share."""
    near = inputs(digits(**arguments), 1)
    monkeypatch.setattr("data_loader.datasets.image_sets.free_memory", lambda device: 0)
    assert same_inputs(near, inputs(digits(**arguments), 1))
    assert same_inputs(near[2:], inputs(digits(**arguments), 1, first_step=2))

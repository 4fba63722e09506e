"""A step gives a GPU its work and goes on: it reads no number from there, and no copy makes it wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from base import Step
from data_loader.transforms.batch_transforms import BatchTransform, Cutout, HorizontalFlip
from data_loader.transforms.colour import ColourJitter
from tests.trainer.imagined_gpu import GPU, ImaginedGPU, first_batches
from tests.trainer.small_runs import small_config, small_trainer
from trainer.engine import loss_guard
from trainer.engine.loss_guard import LossGuard
from utils.device_copies import to_device

pytestmark = pytest.mark.usefixtures("_quick")

NARROW = {"arch__args__layer2_output_dim": 8, "arch__args__layer3_output_dim": 8}
WAYS: dict[str, dict[str, Any]] = {
    "mixup": {},
    "no mixing": {"combiner__mode": "default"},
    "cutmix": {"combiner__mode": "cutmix"},
    "mixed logits": {"combiner__mixup__target_mix_strategy": "mix_logits"},
    "dropout": {"arch__args__dropout": 0.5},
    "cutout": {"data_loader__args__cutout": True},
    "each expert's loss": {"loss__return_expert_losses": True},
    "the loss of the mean": {"loss": {"type": "CrossEntropyLoss", "args": {}}},
    "top five": {"metrics": ["accuracy", "top_k_acc"]},
    "micro-batches": {"trainer__accumulate_steps": 2},
    "sharpness": {"update_rule": {"type": "SAM"}},
}
REAL_ONLY: dict[str, dict[str, Any]] = {  # autocast asks for a real GPU, and a copy of a network for its content
    "bf16": {"trainer__precision": "bf16"},
    "an average": {"method": {"type": "EMA"}},
}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ImaginedGPU:
    return ImaginedGPU(monkeypatch)


class Reads(TorchDispatchMode):
    """Counts operations whose result, or its size, the processor has to know; on a CPU each is as good as free."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        by_mask = function is torch.ops.aten.index.Tensor and any(
            mask.dtype == torch.bool for mask in tree_leaves(args[1]) if isinstance(mask, torch.Tensor)
        )
        if by_mask or any(name in str(function) for name in self.NAMES):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


# -- the whole step ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_forward_pass_and_update_wait_for_nothing(tmp_path: Path, gpu: ImaginedGPU, way: str) -> None:
    gpu.free = 0  # images are copied batch by batch
    trainer = gpu.trainer(tmp_path, small_config(**NARROW, **WAYS[way]))
    first, second = first_batches(trainer.loaders["train"], 2)
    with gpu.watched() as watcher:
        trainer.method.start_epoch(1)
        trainer.train_step({"train": first}, Step(1, 0))
        before = watcher.copies
        trainer.train_step({"train": second}, Step(1, 1))
    assert next(trainer.method.network.parameters()).device == GPU
    parts = trainer.engine.accumulate_steps * (2 if way == "sharpness" else 1)
    assert 3 * parts <= watcher.copies - before <= 5 * parts, "images, labels, what is random of each part of the step"


@pytest.mark.parametrize("way", [*WAYS, *REAL_ONLY])
def test_nothing_is_read_in_forward_pass_backward_pass_and_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(LossGuard, "is_finite_step", lambda *arguments: True)  # looks at once on a CPU
    trainer = small_trainer(tmp_path, small_config(**NARROW, **(WAYS | REAL_ONLY)[way]))
    trainer.recorder.close()
    trainer.method.start_epoch(1)
    batches = first_batches(trainer.loaders["train"], 2)
    with Reads() as reads:
        for index, batch in enumerate(batches):
            trainer.train_step({"train": batch}, Step(1, index))
    assert reads.found == []


def test_the_losses_of_several_steps_are_fetched_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: ImaginedGPU
) -> None:
    monkeypatch.setattr(loss_guard, "_INTERVAL", 3)
    gpu.free = 0
    trainer = gpu.trainer(tmp_path, small_config(**NARROW))
    (batch,) = first_batches(trainer.loaders["train"], 1)
    trainer.method.start_epoch(1)
    with gpu.watched():
        for index in (0, 1):
            trainer.train_step({"train": batch}, Step(1, index))
        with pytest.raises(AssertionError, match=r"_to_copy.* fetches from the GPU"):
            trainer.train_step({"train": batch}, Step(1, 2))


# -- its parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [HorizontalFlip(1), Cutout(1, 8), ColourJitter(1, 0.4)],
    ids=lambda transform: type(transform).__name__,
)
def test_transforms_of_batches_wait_for_nothing(gpu: ImaginedGPU, transform: BatchTransform) -> None:
    sample_ids = np.stack([np.ones(16), np.arange(16), np.zeros(16)], axis=1).astype(np.int64)
    with gpu.watched() as watcher:
        images = torch.zeros((16, 3, 16, 16), dtype=torch.uint8, device=GPU)
        changed = transform(images, sample_ids)
    assert changed.device == GPU
    assert 1 <= watcher.copies <= 2


@pytest.mark.parametrize(
    ("waits", "told"),
    [
        (lambda values, on_gpu: on_gpu.sum().item(), "_local_scalar_dense"),
        (lambda values, on_gpu: 1 if on_gpu.isfinite().all() else 2, "_local_scalar_dense"),
        (lambda values, on_gpu: on_gpu[on_gpu > 0], "nonzero"),
        (lambda values, on_gpu: on_gpu.cpu(), "fetches from the GPU"),
        (lambda values, on_gpu: torch.as_tensor(values, device=GPU), "waits for a copy of"),
        (lambda values, on_gpu: torch.from_numpy(values).to(GPU, non_blocking=True), "not pinned"),
        (lambda values, on_gpu: on_gpu[torch.from_numpy(values)], "does not lie on the GPU"),
    ],
)
def test_the_imagined_gpu_notices_what_waits(gpu: ImaginedGPU, waits: Any, told: str) -> None:
    values = np.arange(4)
    with gpu.watched(), pytest.raises((AssertionError, RuntimeError), match=told):
        waits(values, to_device(values, GPU))


def test_on_the_cpu_an_array_is_not_copied() -> None:
    values = np.arange(4)
    tensor = to_device(values, torch.device("cpu"))
    values[2] = 9
    assert tensor.tolist() == [0, 1, 9, 3]
    assert to_device(tensor, torch.device("cpu")) is tensor

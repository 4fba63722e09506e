"""Training on GPUs: precisions, continuation, several processes, memory, compilation. Skipped where there is none."""

from __future__ import annotations

import gc
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

import model.model as networks
import trainer.build
from base import Step
from data_loader.datasets import image_sets
from tests.trainer import small_runs
from tests.trainer.normfree import without_batchnorm
from tests.trainer.small_runs import CPU, run, small_config, small_trainer
from tests.trainer.stopped_runs import assert_same_runs, run_with_stops
from tests.trainer.test_accumulation import one_step
from trainer.engine.memory_fit import fit_memory
from trainer.trainer import Trainer
from utils.files.checkpoint import load_checkpoint

GPU = torch.device("cuda", 0)
NUM_GPUS = torch.cuda.device_count()

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(NUM_GPUS < 1, reason="needs a CUDA device")]
two_gpus = pytest.mark.skipif(NUM_GPUS < 2, reason="needs two CUDA devices")

# so slow that rounding has no time to send two runs apart
SLOW: dict[str, Any] = {"optimizer__args__lr": 0.002, "lr_scheduler__args": {"step1": 98, "step2": 99}}


@pytest.fixture(autouse=True)
def _on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small runs train on the GPU, by algorithms that give the same bits each time; settings are put back."""
    monkeypatch.setattr(small_runs, "CPU", GPU)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    before = torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def _without_batchnorm(monkeypatch: pytest.MonkeyPatch) -> None:
    built = trainer.build.build_model
    monkeypatch.setattr(trainer.build, "build_model", lambda *where: without_batchnorm(built(*where)))


def all_added(added: dict[str, Tensor]) -> Tensor:
    """A step's changes of all weights, in one vector on the CPU."""
    return torch.cat([change.flatten().cpu() for change in added.values()])


def first_convolution(runner: Trainer) -> nn.Module:
    return next(module for module in runner.method.network.modules() if isinstance(module, nn.Conv2d))


# -- precisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16", "auto"])
def test_every_precision_learns(tmp_path: Path, precision: str) -> None:
    config = small_config(**{**SLOW, "optimizer__args__lr": 0.01}, trainer__epochs=6, trainer__precision=precision)
    losses = [line["loss"] for line in run(tmp_path, config)["progress"]["history"]]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_convolutions_run_in_the_precision_and_logits_are_float32(
    tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    runner = small_trainer(tmp_path, small_config(trainer__precision=precision))
    found, logits = set(), set()
    first_convolution(runner).register_forward_hook(lambda module, inputs, output: found.add(output.dtype))
    runner.method.network.register_forward_hook(lambda module, inputs, answer: logits.add(answer["logits"].dtype))
    runner.method.network.train()
    runner.train_step({"train": next(runner.loaders["train"].epoch(1))}, Step(1, 0))
    runner.recorder.close()
    assert found == {dtype}
    assert logits == {torch.float32}


@pytest.mark.parametrize(("precision", "loss", "update"), [("fp32", 1e-4, 1e-2), ("tf32", 1e-2, 0.2)])
@pytest.mark.usefixtures("_without_batchnorm")
def test_a_step_is_that_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, loss: float, update: float
) -> None:
    """TF32 keeps ten bits of a factor. The images are those of the CPU: rotation may choose between equal pixels."""
    prepared: list[Tensor] = []

    def step_on(device: torch.device) -> tuple[float, Tensor]:
        monkeypatch.setattr(small_runs, "CPU", device)
        runner = small_trainer(tmp_path / device.type, small_config(trainer__precision=precision))
        if device == CPU:
            batch = next(runner.loaders["train"].epoch(1))
            prepared.append(runner.loaders["train"].transform(batch.images, batch.sample_ids))
        given = prepared[0].to(device)
        monkeypatch.setattr(runner.loaders["train"], "transform", lambda images, sample_ids, view: given)
        before = [weight.detach().clone() for weight in runner.method.network.parameters()]
        runner.train_step({"train": next(runner.loaders["train"].epoch(1))}, Step(1, 0))
        runner.recorder.close()
        added = [(new - old).detach() for new, old in zip(runner.method.network.parameters(), before, strict=True)]
        return runner.meters.means()["loss"], torch.cat([change.flatten().cpu() for change in added])

    (expected_loss, expected), (found_loss, found) = step_on(CPU), step_on(GPU)
    assert found_loss == pytest.approx(expected_loss, rel=loss)
    assert (found - expected).norm() < update * expected.norm()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_stopped_within_epochs_and_continued_ends_with_the_same_bits(tmp_path: Path, precision: str) -> None:
    config = small_config(trainer__precision=precision)
    whole = run(tmp_path / "whole", config)
    assert run_with_stops(tmp_path / "parts", config, {(0, 1, 0), (1, 2, 0)}) == 3
    assert_same_runs(tmp_path / "whole", tmp_path / "parts")
    assert bool(whole["precision"]) == (precision == "fp16")


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # that it is a prototype
@pytest.mark.parametrize("changes", [{}, {"combiner__mode": "cutmix", "data_loader__args__cutout": True}])
def test_a_step_waits_for_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    runner = small_trainer(tmp_path, small_config(**changes))
    train_one_step(runner)  # the first one makes the optimiser's state
    batch = next(runner.loaders["train"].epoch(1))
    torch.cuda.set_sync_debug_mode("error")
    try:
        runner.train_step({"train": batch}, Step(1, 1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    runner.recorder.close()


def test_images_on_the_gpu_give_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = run(tmp_path / "there", small_config())
    monkeypatch.setattr(image_sets, "free_memory", lambda device: 0)
    run(tmp_path / "copied", small_config())
    assert_same_runs(tmp_path / "there", tmp_path / "copied")
    assert math.isfinite(there["progress"]["history"][-1]["loss"])


# -- memory -----------------------------------------------------------------------------------------------------------

# 1000 images in one batch keep 692 MB for the backward pass; with activation checkpointing 193 MB
LARGE: dict[str, Any] = {
    "data_loader__args__batch_size": 1000,
    "data_loader__args__imb_factor": 1.0,
    "data_loader__args__max_per_class": 100,
    "arch__args__layer2_output_dim": 32,
    "arch__args__layer3_output_dim": 64,
    "trainer__epochs": 1,
}


def train_one_step(runner: Trainer) -> None:
    runner.method.network.train()
    runner.train_step({"train": next(runner.loaders["train"].epoch(1))}, Step(1, 0))
    torch.cuda.synchronize()


def step_memory(folder: Path, measure: Callable[[], int], **changes: Any) -> int:
    """Bytes at the peak of the second step: the first has made the optimiser's state."""
    runner = small_trainer(folder, small_config(**LARGE, **changes))
    train_one_step(runner)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train_one_step(runner)
    runner.recorder.close()
    return measure()


def free_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def test_activation_checkpointing_needs_less_memory(tmp_path: Path) -> None:
    free_memory()
    plain = step_memory(tmp_path / "plain", torch.cuda.max_memory_allocated)
    free_memory()
    less = step_memory(tmp_path / "less", torch.cuda.max_memory_allocated, trainer__activation_checkpointing=True)
    assert less < 0.6 * plain


def test_accumulation_needs_less_memory(tmp_path: Path) -> None:
    free_memory()
    plain = step_memory(tmp_path / "plain", torch.cuda.max_memory_allocated)
    free_memory()
    less = step_memory(tmp_path / "less", torch.cuda.max_memory_allocated, trainer__accumulate_steps=8)
    assert less < 0.4 * plain


def test_fitting_finds_a_number_of_micro_batches_that_trains_within_the_memory(tmp_path: Path) -> None:
    free_memory()
    whole = step_memory(tmp_path / "whole", torch.cuda.max_memory_reserved)
    free_memory()
    total = torch.cuda.get_device_properties(GPU).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(0.6 * whole / total, GPU)
        with pytest.raises(torch.OutOfMemoryError):
            run(tmp_path / "too much", small_config(**LARGE, trainer__accumulate_steps=1))
        free_memory()
        runner = small_trainer(tmp_path / "fitted", small_config(**LARGE, trainer__accumulate_steps="auto"))
        before = {name: value.clone() for name, value in runner.method.network.state_dict().items()}
        fit_memory(runner)
        assert runner.state.accumulate_steps in (2, 4, 8)
        after = runner.method.network.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        runner.train()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert math.isfinite(runner.state.history[0]["loss"])
    content = load_checkpoint(tmp_path / "fitted/checkpoint-epoch1.pth")
    assert content["progress"]["accumulate_steps"] == runner.state.accumulate_steps


def test_fitting_takes_everything_at_once_where_there_is_room(tmp_path: Path) -> None:
    runner = small_trainer(tmp_path, small_config(trainer__accumulate_steps="auto"))
    fit_memory(runner)
    runner.recorder.close()
    assert (runner.state.accumulate_steps, runner.engine.accumulate_steps) == (1, 1)


# -- the network's other modes ----------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C compiler")
@pytest.mark.filterwarnings("default")  # the compiler's are none of ours
def test_a_compiled_network_takes_the_same_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = replace(networks.CIFAR, blocks=(1,), widths=(8,), reduced_widths=(8,))
    monkeypatch.setattr(networks.ResNet32Model, "architecture", architecture)
    tiny = {
        "arch__args": {"num_classes": 10, "returns_feat": True},
        "loss__args__tau_list": [1],
        "trainer__precision": "fp32",
    }
    plain = one_step(tmp_path / "plain", 0, **tiny)
    torch.compiler.reset()
    compiled = one_step(tmp_path / "compiled", 0, trainer__compile=True, **tiny)
    assert compiled.logged["loss"] == pytest.approx(plain.logged["loss"], rel=1e-4)
    expected = all_added(plain.added)
    assert (all_added(compiled.added) - expected).norm() < 1e-2 * expected.norm()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C compiler")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_replayed_graphs_train_as_well(tmp_path: Path, mode: str) -> None:
    """Four epochs with a short last batch each, validation, and an update rule that passes twice a step."""
    config = {**SLOW, "trainer__epochs": 4, "trainer__validate": True, "update_rule": {"type": "SAM"}}
    plain, replayed = (run(tmp_path / str(way), small_config(**config, trainer__compile=way)) for way in (False, mode))
    for ours, theirs in zip(replayed["progress"]["history"], plain["progress"]["history"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=5e-2)


@pytest.mark.usefixtures("_without_batchnorm")
def test_data_parallel_takes_the_same_step(tmp_path: Path) -> None:
    """On as many GPUs as there are."""
    one = one_step(tmp_path / "one", 0, trainer__parallel="none", trainer__precision="fp32")
    runner = small_trainer(tmp_path / "kind", small_config(trainer__parallel="dp", n_gpu=NUM_GPUS))
    runner.recorder.close()
    assert [type(replicas) for replicas in runner.method._replicas] == [DataParallel]
    several = one_step(tmp_path / "several", 0, n_gpu=NUM_GPUS, trainer__parallel="dp", trainer__precision="fp32")
    assert several.logged["loss"] == pytest.approx(one.logged["loss"], rel=1e-4)
    expected = all_added(one.added)
    assert (all_added(several.added) - expected).norm() < 1e-2 * expected.norm()


@two_gpus
def test_data_parallel_keeps_the_precision_on_every_gpu(tmp_path: Path) -> None:
    runner = small_trainer(tmp_path, small_config(n_gpu=NUM_GPUS, trainer__parallel="dp", trainer__precision="bf16"))
    found: list[tuple[int, torch.dtype]] = []  # hooks are copied into each replica with the list they fill

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((output.device.index, output.dtype))

    first_convolution(runner).register_forward_hook(note)
    train_one_step(runner)
    runner.recorder.close()
    assert {device for device, _ in found} == set(range(NUM_GPUS))
    assert {dtype for _, dtype in found} == {torch.bfloat16}

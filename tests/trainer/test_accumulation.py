"""A batch taken in several parts gives the update, losses and metrics of the whole; so do the network's other modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import model.model as networks
import trainer.build
from base import BatchShard, Step
from tests.trainer.normfree import without_batchnorm
from tests.trainer.small_runs import run, small_config, small_trainer
from trainer.config.run_config import find_problems
from trainer.trainer import Trainer
from utils.distributed.context import DistributedContext

# 78 images: batches of 32, 32 and 14, in groups of 4, 4 and 2 images
STEPS = {0: (32, 8), 2: (14, 7)}
MIXINGS: dict[str, dict[str, Any]] = {
    "none": {"combiner__mode": "default"},
    "mixup": {"combiner__mode": "mixup"},
    "cutmix": {"combiner__mode": "cutmix"},
    "logits": {"combiner__mode": "mixup", "combiner__mixup__target_mix_strategy": "mix_logits"},
    "dropout": {"combiner__mode": "mixup", "arch__args__dropout": 0.5},
}


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks without BatchNorm, one block a stage, in float64: what remains between two ways is no rounding."""
    built = trainer.build.build_model
    monkeypatch.setattr(networks.ResNet32Model, "architecture", replace(networks.CIFAR, blocks=(1, 1, 1)))

    def build(config: Any, device: torch.device) -> nn.Module:
        network = without_batchnorm(built(config, device)).double()
        network.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
        return network

    monkeypatch.setattr(trainer.build, "build_model", build)


@dataclass
class Outcome:
    """What one step leaves: what it added to each weight, and what it logged."""

    added: dict[str, Tensor]
    logged: dict[str, float]
    parts: list[int]


def one_step(folder: Path, step: int, **changes: Any) -> Outcome:
    """Take step `step` of epoch 1 with a fresh network."""
    config = small_config(loss__return_expert_losses=True, metrics=["accuracy", "top_k_acc"], **changes)
    runner = small_trainer(folder, config)
    before = {name: weight.detach().clone() for name, weight in runner.method.network.named_parameters()}
    parts: list[int] = []
    runner.method.network.register_forward_pre_hook(lambda module, inputs: parts.append(len(inputs[0])))
    runner.method.network.train()
    runner.train_step({"train": next(runner.loaders["train"].epoch(1, first_step=step))}, Step(1, step))
    runner.recorder.close()
    added = {name: weight.detach() - before[name] for name, weight in runner.method.network.named_parameters()}
    return Outcome(added, runner.meters.means(), parts)


# -- the same step ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.usefixtures("_exact")
def test_a_batch_in_parts_gives_the_update_losses_and_metrics_of_the_whole(
    tmp_path: Path, mixing: str, step: int
) -> None:
    """The first batch, and the epoch's last, which is short."""
    images, groups = STEPS[step]
    whole = one_step(tmp_path / "1", step, trainer__accumulate_steps=1, **MIXINGS[mixing])
    assert whole.parts == [images]
    assert all(change.abs().max() > 1e-6 for change in whole.added.values()), "every weight takes part"
    for count in (2, 4, 100):
        parts = one_step(tmp_path / str(count), step, trainer__accumulate_steps=count, **MIXINGS[mixing])
        assert len(parts.parts) == min(count, groups)
        assert sum(parts.parts) == images
        for name, change in whole.added.items():
            torch.testing.assert_close(parts.added[name], change, rtol=1e-9, atol=1e-12, msg=name)
        assert parts.logged == pytest.approx(whole.logged, abs=1e-6), "metrics are float32"
        assert parts.logged["loss"] == pytest.approx(whole.logged["loss"], rel=1e-12)
    assert whole.logged.keys() == {"loss", "loss_e_0", "loss_e_1", "accuracy", "top_k_acc"}


@pytest.mark.usefixtures("_exact")
def test_a_whole_epoch_in_parts_ends_as_the_whole_batches_do(tmp_path: Path) -> None:
    """Three updates with momentum, and the epoch's means over its images."""
    config = small_config(trainer__epochs=1, optimizer__args__lr=0.01)
    whole = run(tmp_path / "1", {**config, "trainer": {**config["trainer"], "accumulate_steps": 1}})
    parts = run(tmp_path / "3", {**config, "trainer": {**config["trainer"], "accumulate_steps": 3}})
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(parts["state_dict"][name], value, rtol=0, atol=1e-9, msg=name)
    (expected,), (found,) = whole["progress"]["history"], parts["progress"]["history"]
    assert found == pytest.approx(expected, rel=1e-7)


def test_in_float32_parts_and_whole_agree_to_its_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = trainer.build.build_model
    monkeypatch.setattr(trainer.build, "build_model", lambda *where: without_batchnorm(built(*where)))
    whole = one_step(tmp_path / "1", 0, trainer__accumulate_steps=1)
    parts = one_step(tmp_path / "4", 0, trainer__accumulate_steps=4)
    for name, change in whole.added.items():
        torch.testing.assert_close(parts.added[name], change, rtol=1e-4, atol=1e-6, msg=name)
    assert parts.logged == pytest.approx(whole.logged, rel=1e-5)


@pytest.mark.usefixtures("_exact")
def test_a_skipped_step_is_skipped_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of four parts has a loss that is no number: no part of the batch is learnt from or counted."""
    runner = small_trainer(tmp_path, small_config(trainer__accumulate_steps=4, trainer__on_nonfinite="skip"))
    network, criterion = runner.method.network, runner.method.criterion
    loss_of = criterion.forward
    called = 0

    def spoilt(*arguments: Any, **options: Any) -> Tensor:
        nonlocal called
        called += 1
        return loss_of(*arguments, **options) * (torch.nan if called == 2 else 1.0)

    monkeypatch.setattr(criterion, "forward", spoilt)
    before = [weight.detach().clone() for weight in network.parameters()]
    batches = runner.loaders["train"].epoch(1)
    runner.train_step({"train": next(batches)}, Step(1, 0))
    assert (called, runner.state.skipped_steps, runner.meters.means()) == (4, 1, {})
    assert all(torch.equal(new, old) for new, old in zip(network.parameters(), before, strict=True))
    runner.train_step({"train": next(batches)}, Step(1, 1))
    runner.recorder.close()
    assert (called, runner.state.skipped_steps) == (8, 1)
    assert all(weight.isfinite().all() for weight in network.parameters())
    assert not torch.equal(next(network.parameters()), before[0])


# -- how many parts ---------------------------------------------------------------------------------------------------


def parts_of(folder: Path, *, distributed: DistributedContext | None = None, **changes: Any) -> list[BatchShard]:
    """What this process takes at once of a full batch of 32."""
    runner = small_trainer(folder, small_config(**changes), distributed=distributed)
    runner.recorder.close()
    batch = next(runner.loaders["train"].epoch(1))
    assert len(batch.images) == 32
    return [part["train"].shard for part in runner.engine.micro_batches({"train": batch})]


@pytest.mark.parametrize(("n_gpu", "parts"), [(0, 1), (1, 1), (2, 2), (4, 4), (9, 8)])
def test_one_device_takes_a_batch_in_as_many_parts_as_gpus_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_gpu: int, parts: int
) -> None:
    """So it has as many images at once as each of those GPUs would: eight groups of four at most."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    found = parts_of(tmp_path, n_gpu=n_gpu, trainer__accumulate_steps=None)
    assert len(found) == parts
    assert sum(len(part) for part in found) == 32


@pytest.mark.parametrize("mode", ["ddp", "none"])
def test_one_of_several_gpus_takes_as_many_parts_as_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Whatever the machine has beside it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [len(part) for part in parts_of(tmp_path, n_gpu=4, trainer__parallel=mode)] == [8] * 4


def test_data_parallel_takes_parts_for_the_gpus_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [len(part) for part in parts_of(tmp_path, n_gpu=4, trainer__parallel="dp")] == [16] * 2


@pytest.mark.parametrize("n_gpu", [0, 1, 2])
def test_data_parallel_without_a_gpu_trains_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_gpu: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert len(parts_of(tmp_path, n_gpu=n_gpu, trainer__parallel="dp")) == max(n_gpu, 1)


@pytest.mark.parametrize("value", [1, 3])
def test_a_number_of_parts_holds_whatever_n_gpu_is(tmp_path: Path, value: int) -> None:
    assert len(parts_of(tmp_path, n_gpu=2, trainer__accumulate_steps=value)) == value


# -- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1.5, "max", "3", True, [2]])
def test_a_number_of_parts_that_is_none_is_one_line(value: Any) -> None:
    (line,) = map(str, find_problems(small_config(trainer__accumulate_steps=value)))
    assert line.startswith("trainer.accumulate_steps: ")
    assert "auto" in line
    assert repr(value) in line or str(value) in line


@pytest.mark.parametrize("value", ["auto", 1, 3, 1000, None])
def test_numbers_of_parts_and_auto_are_accepted(value: Any) -> None:
    assert find_problems(small_config(trainer__accumulate_steps=value)) == []


# -- the network's other modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", [{"channels_last": False}, {"activation_checkpointing": True}], ids=lambda mode: next(iter(mode))
)
@pytest.mark.usefixtures("_exact")
def test_modes_that_save_time_or_memory_change_no_step(tmp_path: Path, mode: dict[str, bool]) -> None:
    plain = one_step(tmp_path / "plain", 0)
    other = one_step(tmp_path / "other", 0, **{f"trainer__{name}": value for name, value in mode.items()})
    assert other.logged == pytest.approx(plain.logged, rel=1e-12)
    for name, change in plain.added.items():
        torch.testing.assert_close(other.added[name], change, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize(("channels_last", "innermost"), [(True, True), (False, False)])
def test_channels_lie_where_the_configuration_says(tmp_path: Path, channels_last: bool, innermost: bool) -> None:
    runner = small_trainer(tmp_path, small_config(trainer__channels_last=channels_last))
    runner.recorder.close()
    kernels = [weight for weight in runner.method.network.parameters() if weight.dim() == 4]
    assert {weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels} == {innermost}


def count_calls(runner: Trainer) -> Callable[[], int]:
    """How often blocks have been run so far."""
    calls = 0

    def count(module: nn.Module, inputs: object) -> None:
        nonlocal calls
        calls += 1

    for module in runner.method.network.modules():
        if isinstance(module, networks.BasicBlock):
            module.register_forward_pre_hook(count)
    return lambda: calls


@pytest.mark.parametrize(("checkpointing", "times"), [(False, 1), (True, 2)])
def test_activation_checkpointing_runs_each_block_twice(tmp_path: Path, checkpointing: bool, times: int) -> None:
    runner = small_trainer(tmp_path, small_config(trainer__activation_checkpointing=checkpointing))
    calls = count_calls(runner)
    runner.train_step({"train": next(runner.loaders["train"].epoch(1))}, Step(1, 0))
    runner.recorder.close()
    assert calls() == times * (5 + 5 + 2 * 5)  # two shared stages of five blocks, and a third for each of two experts

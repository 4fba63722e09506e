"""A compiled network takes the same steps, and each size of batches has a program of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import model.model as networks
from base import Step
from model.experts import ExpertModel
from tests.trainer.small_runs import small_config, small_trainer
from utils.errors import ConfigError

# one linear classifier behind a stem and a block: else the compiler takes a minute
TINY: dict[str, Any] = {"arch__args": {"num_classes": 10, "returns_feat": True}, "loss__args__tau_list": [1]}
SIZES = (32, 32, 14)  # of the epoch's batches

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
    pytest.mark.filterwarnings("default"),  # the compiler's own: it uses parts of itself that are deprecated
]


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    architecture = replace(networks.CIFAR, blocks=(1,), widths=(8,), reduced_widths=(8,))
    monkeypatch.setattr(networks.ResNet32Model, "architecture", architecture)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def programs() -> int:
    """That the compiler has made so far."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def epoch(folder: Path, **changes: Any) -> tuple[list[dict[str, Tensor]], list[int]]:
    """What each step of an epoch adds to the weights, and how many programs it makes."""
    runner = small_trainer(folder, small_config(**TINY, **changes))
    runner.recorder.close()
    runner.method.start_epoch(1)
    added, made = [], []
    for index, batch in enumerate(runner.loaders["train"].epoch(1)):
        assert len(batch.images) == SIZES[index]
        before = {name: weight.detach().clone() for name, weight in runner.method.network.named_parameters()}
        programs_before = programs()
        runner.train_step({"train": batch}, Step(1, index))
        made.append(programs() - programs_before)
        added.append({name: w.detach() - before[name] for name, w in runner.method.network.named_parameters()})
    return added, made


@pytest.mark.parametrize("compiled", [True, "reduce-overhead", "max-autotune"])
def test_a_compiled_network_takes_the_same_steps(tmp_path: Path, compiled: Any) -> None:
    expected, _ = epoch(tmp_path / "plain")
    added, made = epoch(tmp_path / "compiled", trainer__compile=compiled)
    assert made == [1, 0, 1], "the first batch's program serves the second, and the short one has its own"
    for ours, theirs in zip(added, expected, strict=True):
        for name, change in theirs.items():
            assert (ours[name] - change).norm() < 1e-3 * change.norm(), name


@pytest.mark.parametrize(
    ("value", "mode"), [(True, None), ("reduce-overhead", "reduce-overhead"), ("max-autotune", "max-autotune")]
)
def test_modes_are_the_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, mode: str | None) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(ExpertModel, "compile", lambda network, **how: asked.append(how))
    small_trainer(tmp_path, small_config(**TINY, trainer__compile=value)).recorder.close()
    assert asked == [{"mode": mode, "dynamic": False}]


def test_graphs_refuse_the_micro_batches_that_stand_for_missing_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExpertModel, "compile", lambda network, **how: None)
    with pytest.raises(ConfigError, match=r"trainer\.compile: .* n_gpu is 2 but 1 in use") as told:
        small_trainer(tmp_path, small_config(**TINY, trainer__compile="reduce-overhead", n_gpu=2))
    assert len(str(told.value).splitlines()) == 1

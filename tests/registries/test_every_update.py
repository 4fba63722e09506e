"""Methods and update rules in two processes with two micro-batches each, against one process and whole batches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import trainer.build
import trainer.engine.update_rules as update_rules
from tests.ranks import in_processes
from tests.registries.entries import PAIRS, UPDATE_RULES, Variant, config_of, first_stage_config
from tests.trainer.normfree import build_exact_networks
from tests.trainer.small_runs import make_quick, run, small_trainer
from trainer.config.components import METHOD
from utils.distributed.context import DistributedContext

JOBS = {"-".join(map(str, pair)): pair for pair in PAIRS}
States = dict[str, dict[str, Tensor]]
"""Name of a network that the method evaluates → its state dict."""


def train(
    distributed: DistributedContext | None, folder: Path, configs: Mapping[str, dict[str, Any]]
) -> dict[str, States]:
    """Train each of the configurations; returns its networks."""
    outcomes: dict[str, States] = {}
    for job, config in configs.items():
        runner = small_trainer(folder / job, config, distributed=distributed)
        runner.train()
        outcomes[job] = {name: dict(network.state_dict()) for name, network in runner.method.networks().items()}
    return outcomes


def train_exactly(
    distributed: DistributedContext, folder: Path, configs: Mapping[str, dict[str, Any]]
) -> dict[str, States]:
    """The same in a process of its own, with shallow networks without BatchNorm, in float64."""
    make_quick()
    build_exact_networks()
    return train(distributed, folder, configs)


def configs_of(first_stage: Path, accumulate_steps: int) -> dict[str, dict[str, Any]]:
    """One epoch of each job."""
    changes = {"trainer__accumulate_steps": accumulate_steps, "trainer__epochs": 1}
    return {job: config_of(variant, rule, first_stage, **changes) for job, (variant, rule) in JOBS.items()}


@pytest.fixture(scope="module")
def exact_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, States], list[dict[str, States]]]:
    """Job → networks: of one process, and of each of two."""
    folder = tmp_path_factory.mktemp("exact")
    first_stage = folder / "first/checkpoint-epoch1.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.build, "build_model", trainer.build.build_model)  # so that it is put back
        build_exact_networks()
        run(folder / "first", first_stage_config())
        alone = train(None, folder / "alone", configs_of(first_stage, 1))
    return alone, in_processes(train_exactly, 2, folder / "together", configs_of(first_stage, 2))


def test_a_configuration_may_name_whatever_is_listed() -> None:
    assert update_rules.__all__ == UPDATE_RULES


@pytest.mark.parametrize("job", JOBS)
def test_two_processes_with_micro_batches_end_with_the_weights_of_one(exact_runs: Any, job: str) -> None:
    """Every network that a method evaluates, averages too."""
    alone, together = exact_runs
    for process in together:
        torch.testing.assert_close(process[job], alone[job], rtol=0, atol=1e-9)


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_in_bf16_it_trains_and_weights_and_their_optimiser_stay_in_float32(
    tmp_path: Path, first_stage: Path, rule: str
) -> None:
    config = config_of(Variant(METHOD.default, {}), rule, first_stage, trainer__precision="bf16", trainer__epochs=1)
    runner = small_trainer(tmp_path, config)
    before = [weight.detach().clone() for weight in runner.method.network.parameters()]
    computed_in: set[torch.dtype] = set()
    runner.method.network.backbone.conv1.register_forward_hook(lambda _, given, output: computed_in.add(output.dtype))
    runner.train()
    assert computed_in == {torch.bfloat16}
    for weight, old in zip(runner.method.network.parameters(), before, strict=True):
        assert weight.dtype == torch.float32
        assert weight.isfinite().all()
        assert not torch.equal(weight, old)
        assert all(entry.dtype == torch.float32 for entry in runner.optimizer.state[weight].values())

"""A run that diverges in an epoch's last step leaves no checkpoint of it, and is not begun from one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base import Batch, RunFolder, Step
from tests.trainer.small_runs import run, small_config, small_trainer
from trainer.engine.loss_guard import DIVERGED_NAME
from trainer.trainer import Trainer
from utils.errors import RunError
from utils.files.checkpoint import load_checkpoint, save_checkpoint
from utils.files.checkpoint_schema import require_training_state

LAST = Step(2, 2)  # 78 images: batches of 30, 30 and 18
INF, NAN = math.inf, math.nan


pytestmark = pytest.mark.usefixtures("_quick_throughout")


def config_of(**changes: Any) -> dict[str, Any]:
    layers = {"arch__args__layer2_output_dim": 8, "arch__args__layer3_output_dim": 8}
    monitored = {"trainer__validate": True, "trainer__monitor": "max val_accuracy"}
    return small_config(**{"data_loader__args__batch_size": 30, **layers, **monitored, **changes})


def broken_after(trainer: Trainer, step: Step, damage: Callable[[Trainer], None]) -> Trainer:
    """Damage what the trainer has learnt after a step, as an update of a finite loss may do."""
    step_of = trainer.train_step

    def train_step(batches: Mapping[str, Batch], now: Step) -> None:
        step_of(batches, now)
        if now == step:
            damage(trainer)

    trainer.train_step = train_step  # type: ignore[method-assign]
    return trainer


def moment(name: str, value: float) -> Callable[[Trainer], None]:
    """Put a number into one optimiser's moment of one weight."""

    def damage(trainer: Trainer) -> None:
        weight = trainer.optimizer.param_groups[0]["params"][-1]
        trainer.optimizer.state[weight][name].view(-1)[-1] = value

    return damage


def statistic(value: float) -> Callable[[Trainer], None]:
    """Put a number into the running statistics of one BatchNorm layer."""

    def damage(trainer: Trainer) -> None:
        layer = next(module for module in trainer.method.network.modules() if isinstance(module, nn.BatchNorm2d))
        assert layer.running_var is not None
        layer.running_var[0] = value

    return damage


def too_large(trainer: Trainer) -> None:
    """Make weights so large that logits overflow, while they themselves are finite."""
    for module in trainer.method.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 1e18)


SGD = {"type": "SGD", "args": {"lr": 0.05, "momentum": 0.9}}
ADAM = {"type": "Adam", "args": {"lr": 0.001}}
DAMAGES: dict[str, tuple[dict[str, Any], Callable[[Trainer], None], str]] = {
    "a momentum": (SGD, moment("momentum_buffer", INF), "the optimiser's moments become infinite or nan"),
    "Adam's first moment": (ADAM, moment("exp_avg", NAN), "the optimiser's moments become infinite or nan"),
    "Adam's second moment": (ADAM, moment("exp_avg_sq", INF), "the optimiser's moments become infinite or nan"),
    "a running statistic": (SGD, statistic(NAN), "weights become infinite or nan"),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("action", ["stop", "skip"])
def test_what_the_last_step_breaks_reaches_no_checkpoint(tmp_path: Path, name: str, action: str) -> None:
    optimizer, damage, told = DAMAGES[name]
    config = config_of(optimizer=optimizer, trainer__on_nonfinite=action, trainer__checkpoint_minutes=1e-9)
    with pytest.raises(RunError, match=f"{told} in epoch 2, step 2 "):
        broken_after(small_trainer(tmp_path, config), LAST, damage).train()
    assert_sound(tmp_path)


@pytest.mark.parametrize("first_epoch", [True, False])
def test_weights_that_are_finite_but_whose_validation_is_not_are_never_best(tmp_path: Path, first_epoch: bool) -> None:
    """Accuracy is a number even where no logit is one."""
    step = Step(1, 2) if first_epoch else LAST
    trainer = broken_after(small_trainer(tmp_path, config_of()), step, too_large)
    with pytest.raises(
        RunError, match=rf"val_loss is (nan|inf) after epoch {step.epoch}: training has diverged"
    ) as told:
        trainer.train()
    assert len(str(told.value).splitlines()) == 1
    assert {path.name for path in tmp_path.glob("checkpoint*")} == (set() if first_epoch else {"checkpoint-epoch1.pth"})
    assert (tmp_path / "model_best.pth").exists() == (not first_epoch)
    assert_sound(tmp_path)


def test_a_checkpoint_from_within_such_a_validation_is_put_aside(tmp_path: Path) -> None:
    trainer = broken_after(small_trainer(tmp_path, config_of(trainer__checkpoint_minutes=1e-9)), LAST, too_large)
    with pytest.raises(RunError, match="val_loss is"):
        trainer.train()
    aside = load_checkpoint(tmp_path / DIVERGED_NAME)["progress"]
    assert (aside["epoch"], aside["step"]) == (LAST.epoch - 1, LAST.index + 1)
    assert RunFolder(tmp_path).checkpoints()[0].name == "checkpoint-epoch2-step2.pth"
    (tmp_path / DIVERGED_NAME).unlink()
    assert_sound(tmp_path)


def test_a_real_divergence_in_the_last_step(tmp_path: Path) -> None:
    """A rate that is sound until the schedule raises it beyond all numbers for the very last update."""
    jump = {"type": "MultiStepLR", "args": {"milestones": [5], "gamma": 1e38}, "step_unit": "step"}
    with pytest.raises(RunError, match=r"infinite or nan in epoch 2, step 2 \(learning rate 5e\+36\)"):
        small_trainer(tmp_path, config_of(lr_scheduler=jump)).train()
    assert_sound(tmp_path)


@pytest.mark.parametrize("value", [INF, NAN, 1e20])
def test_without_validation_weights_whose_norm_is_infinite_are_not_saved(tmp_path: Path, value: float) -> None:
    def damage(trainer: Trainer) -> None:
        next(trainer.method.network.parameters()).data[0, 0, 0, 0] = value

    config = config_of(trainer__validate=False)
    with pytest.raises(RunError, match="weights become infinite or nan in epoch 2, step 2 "):
        broken_after(small_trainer(tmp_path, config), LAST, damage).train()
    assert_sound(tmp_path)


def assert_sound(folder: Path) -> None:
    """All that a run left can be continued from, and nothing of it is from after the damage."""
    for path in folder.glob("*.pth"):
        content = load_checkpoint(path)
        require_training_state(content, path)
        position = (content["progress"]["epoch"], content["progress"]["step"])
        assert position < (LAST.epoch - 1, LAST.index + 1)
    found = RunFolder(folder).newest_good(require_training_state)
    assert found is None or found[0] == RunFolder(folder).checkpoints()[0]


@pytest.mark.parametrize("part", ["state_dict", "averaged_state_dict", "optimizer"])
def test_a_checkpoint_that_holds_such_numbers_all_the_same_is_passed_over(tmp_path: Path, part: str) -> None:
    run(tmp_path, config_of(method={"type": "EMA"}))
    newest, before = RunFolder(tmp_path).checkpoints()
    content = load_checkpoint(newest)
    held = content[part]["state"][0] if part == "optimizer" else content[part]
    next(value for value in held.values() if torch.is_tensor(value) and value.is_floating_point()).fill_(NAN)
    save_checkpoint(newest, content)
    found = RunFolder(tmp_path).newest_good(require_training_state)
    assert found is not None
    assert found[0] == before

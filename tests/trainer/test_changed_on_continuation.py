"""`-r` with changed keys: the next update is what a run of that configuration does, or the change is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import model.model as networks
from tests.trainer.small_runs import run, small_config, small_trainer, with_changes
from trainer.continuation import run_differences
from trainer.engine.loss_guard import LossGuard
from trainer.run_folders import read_resumed
from trainer.trainer import Trainer
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.errors import CheckpointError, RunError
from utils.files.checkpoint import load_checkpoint

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    "Adam": {"lr": 0.01, "weight_decay": 5e-4},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "CustomLR": {"step1": 3, "step2": 9, "gamma": 0.1, "warmup_epoch": 0},
    "CosineAnnealingLR": {"T_max": 9},
    "StepLR": {"step_size": 9},
    "ReduceLROnPlateau": {"factor": 0.1, "patience": 5},
}
DONE = 2  # epochs of the checkpoint


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        architecture = replace(networks.CIFAR, blocks=(1, 1, 1), widths=(8, 8, 8))
        patch.setattr(networks.ResNet32Model, "architecture", architecture)
        torch.set_num_threads(1)
        yield


def begun(optimizer: str = "SGD", schedule: str = "CustomLR") -> dict[str, Any]:
    changes: dict[str, Any] = {
        "optimizer": {"type": optimizer, "args": OPTIMIZERS[optimizer]},
        "lr_scheduler": {"type": schedule, "args": SCHEDULES[schedule]},
    }
    plateau = schedule == "ReduceLROnPlateau"
    monitored = {"trainer__validate": True, "trainer__monitor": "min val_loss"} if plateau else {}
    layers = {"arch__args__layer2_output_dim": 8, "arch__args__layer3_output_dim": 8}
    return small_config(trainer__epochs=DONE, data_loader__args__batch_size=78, **layers, **monitored, **changes)


class Checkpoints:
    """One short run for each optimiser and schedule."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, config: dict[str, Any]) -> Path:
        folder = self.folder / f"{config['optimizer']['type']}-{config['lr_scheduler']['type']}"
        path = folder / f"checkpoint-epoch{DONE}.pth"
        if not path.is_file():
            run(folder, config)
        return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    return Checkpoints(tmp_path_factory.mktemp("begun"))


def continued(folder: Path, checkpoint: Path, config: dict[str, Any], **changes: Any) -> Trainer:
    changed = {path.replace("__", "."): value for path, value in changes.items()}
    return small_trainer(folder, with_changes(config, {**changed, "trainer.epochs": DONE + 1}), resume=checkpoint)


def next_update(trainer: Trainer) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The weights before the next update, its gradients, and the weights after it."""
    weights = [weight for group in trainer.optimizer.param_groups for weight in group["params"]]
    before, gradients, after = [], [], []
    trainer.optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(weight.grad.clone() for weight in weights) if not gradients else None  # type: ignore[union-attr]
    )
    trainer.optimizer.register_step_post_hook(
        lambda *_: after.extend(weight.detach().clone() for weight in weights) if not after else None
    )
    before = [weight.detach().clone() for weight in weights]
    trainer.recorder.close()
    trainer.state.epoch = DONE
    trainer.train_steps(DONE + 1)
    return before, gradients, after


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        *(("SGD", key, value) for key, value in {"lr": 5.0, "momentum": 0.5, "weight_decay": 0.1}.items()),
        *(("SGD", key, value) for key, value in {"dampening": 0.5, "nesterov": True, "maximize": True}.items()),
        *(("Adam", key, value) for key, value in {"lr": 0.5, "weight_decay": 0.1, "eps": 0.1}.items()),
        *(("Adam", key, value) for key, value in {"betas": [0.5, 0.6], "maximize": True}.items()),
        ("Adam", "decoupled_weight_decay", True),
    ],
)
def test_the_next_update_is_by_the_new_options_and_the_old_moments(
    tmp_path: Path, checkpoints: Checkpoints, kind: str, key: str, value: Any
) -> None:
    """As torch's optimiser of these options does it, given the moments of the checkpoint."""
    config = begun(kind)
    checkpoint = checkpoints.of(config)
    moments = load_checkpoint(checkpoint)["optimizer"]["state"]
    changed = {**OPTIMIZERS[kind], key: value}
    before, gradients, after = next_update(continued(tmp_path, checkpoint, config, optimizer__args=changed))
    ends = []
    for options in (changed, OPTIMIZERS[kind]):
        weights = [torch.nn.Parameter(weight.clone()) for weight in before]
        reference = getattr(torch.optim, kind)(weights, **options)
        for number, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            weight.grad = gradient.clone()
            reference.state[weight] = {name: moment.clone() for name, moment in moments[number].items()}
        reference.step()
        ends.append([weight.detach() for weight in weights])
    assert equal(after, ends[0])
    assert not equal(after, ends[1])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("loss__args__tau_list", [0, 5]),
        ("loss__args__eps", 0.1),
        ("seed", 7),
        ("data_loader__args__batch_size", 40),
        ("data_loader__args__imb_factor", 0.5),
        ("combiner__mixup__alpha", 4.0),
    ],
)
def test_the_next_gradients_are_those_of_a_run_of_the_new_configuration(
    tmp_path: Path, checkpoints: Checkpoints, path: str, value: Any
) -> None:
    config = begun()
    checkpoint = checkpoints.of(config)
    changed = with_changes(config, {path: value}, separator="__")
    fresh = small_trainer(tmp_path / "fresh", changed)
    fresh.method.network.load_state_dict(load_checkpoint(checkpoint)["state_dict"])
    going_on = continued(tmp_path / "new", checkpoint, config, **{path: value})
    buffers = dict(going_on.method.named_buffers())
    assert all(torch.equal(buffers[name], buffer) for name, buffer in fresh.method.named_buffers())
    _, gradients, _ = next_update(going_on)
    assert equal(gradients, next_update(fresh)[1])
    assert not equal(gradients, next_update(continued(tmp_path / "same", checkpoint, config))[1])


def cosine(base: float, length: int, least: float = 0.0) -> float:
    return least + (base - least) * (1 + math.cos(math.pi * DONE / length)) / 2


@pytest.mark.parametrize(
    ("kind", "changes", "rate"),
    [
        ("CustomLR", {"step1": 1}, 0.005),
        ("CustomLR", {"step1": 1, "step2": 2}, 0.0005),
        ("CustomLR", {"step1": 1, "gamma": 0.5}, 0.025),
        ("CustomLR", {"warmup_epoch": 6}, 0.025),
        ("CosineAnnealingLR", {"T_max": 4}, cosine(0.05, 4)),
        ("CosineAnnealingLR", {"T_max": 9, "eta_min": 0.01}, cosine(0.05, 9, 0.01)),
        ("StepLR", {"step_size": 2}, 0.005),
        ("StepLR", {"step_size": 1, "gamma": 0.5}, 0.0125),
        ("ReduceLROnPlateau", {"threshold": 1e9, "threshold_mode": "abs", "patience": 0}, 0.005),
        ("ReduceLROnPlateau", {"threshold": 1e9, "threshold_mode": "abs", "patience": 0, "factor": 0.5}, 0.025),
        ("ReduceLROnPlateau", {"min_lr": 0.02, "threshold": 1e9, "threshold_mode": "abs", "patience": 0}, 0.02),
    ],
)
def test_the_next_rate_is_that_of_the_new_schedule_at_the_epoch_reached(
    tmp_path: Path, checkpoints: Checkpoints, kind: str, changes: dict[str, Any], rate: float
) -> None:
    config = begun(schedule=kind)
    args = {**SCHEDULES[kind], **changes}
    trainer = continued(tmp_path, checkpoints.of(config), config, lr_scheduler__args=args)
    trainer.recorder.close()
    assert trainer.schedule.rate == pytest.approx(rate, rel=1e-12)
    assert trainer.schedule.position == DONE


def test_another_schedule_takes_over_at_the_epoch_reached(tmp_path: Path, checkpoints: Checkpoints) -> None:
    config, other = begun(), {"type": "CosineAnnealingLR", "args": {"T_max": 4}}
    trainer = continued(tmp_path, checkpoints.of(config), config, lr_scheduler=other)
    trainer.recorder.close()
    assert trainer.schedule.rate == pytest.approx(cosine(0.05, 4), rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "changes", "line"),
    [
        ("SGD", {"optimizer": {"type": "Adam", "args": {}}}, "optimizer.type: 'SGD' → 'Adam': another optimiser"),
        ("SGD", {"initialise": {"checkpoint": "other.pth"}}, "it would have no effect"),
        ("SGD", {"trainable": ["backbone.linear*"]}, "trainable: None →"),
        ("SGD", {"method": {"type": "EMA", "args": {}}}, "holds no 'averaged_state_dict'"),
        ("Adam", {"optimizer__args__amsgrad": True}, "max_exp_avg_sq"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line_with_the_way_out(
    tmp_path: Path, checkpoints: Checkpoints, kind: str, changes: dict[str, Any], line: str
) -> None:
    config = begun(kind)
    with pytest.raises(CheckpointError) as refused:
        continued(tmp_path, checkpoints.of(config), config, **changes)
    assert line in str(refused.value)
    assert "resume_state_dict_only=true" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_keys_that_are_left_out_count_as_their_defaults() -> None:
    config = begun()
    full = with_changes(config, {"trainer.keep_last": 0, "method": {"type": "Supervised"}, "loss.args.eps": 1e-9})
    assert run_differences(config, full) == []
    part = {"type": "LinearLR", "args": {"total_iters": 5}}
    parts = {"lr_scheduler": {"type": "ChainedScheduler", "args": {"schedulers": [part]}}}
    same = {"type": "LinearLR", "args": {"total_iters": 5, "end_factor": 1.0}}
    spelled = {"lr_scheduler.args.schedulers": [same], "lr_scheduler.step_unit": None}
    assert run_differences({**config, **parts}, with_changes({**config, **parts}, spelled)) == []
    other = with_changes(full, {"n_gpu": 3, "optimizer.args.lr": 1, "trainer.keep_last": 2})
    assert [str(each) for each in run_differences(config, other)] == [
        "optimizer.args.lr: 0.05 → 1",
        "trainer.keep_last: 0 → 2",
    ]


def test_a_configuration_edited_beside_the_checkpoint_is_a_new_run_told_key_by_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = begun()
    run(tmp_path, config)
    checkpoint = tmp_path / f"checkpoint-epoch{DONE}.pth"
    edited = with_changes(config, {"seed": 3, "optimizer.args.lr": 0.5})
    (tmp_path / "config.json").write_text(json.dumps(edited))
    parser = ConfigParser.from_file(tmp_path / "config.json", resume=checkpoint)
    with caplog.at_level("INFO"):
        folder, content = read_resumed(parser, DistributedContext())
    assert folder is None
    assert content is not None
    told = [record.getMessage().strip() for record in caplog.records]
    assert set(told[1:]) == {"optimizer.args.lr: 0.05 → 0.5", "seed: 1 → 3"}


def test_averaged_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, with_changes(begun(), {"method": {"type": "EMA", "args": {}}}))
    trainer.train_steps(1)
    next(trainer.method.networks()["averaged"].parameters()).data.fill_(math.nan)
    assert isinstance(trainer.guard, LossGuard)
    with pytest.raises(RunError, match="weights become infinite or nan"):
        trainer.save("model_best.pth")
    trainer.recorder.close()
    assert not (tmp_path / "model_best.pth").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_never_best(tmp_path: Path, value: float) -> None:
    trainer = small_trainer(tmp_path, begun(schedule="ReduceLROnPlateau"))
    trainer.recorder.close()
    assert not trainer.monitor.is_better(value, None)

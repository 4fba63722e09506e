"""Legal configurations that are surely not meant get a warning; published ones get none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.config_mutator import RECIPES
from tests.trainer.small_runs import with_changes
from trainer.config.config_warnings import find_config_warnings
from trainer.config.run_config import RunConfig, run_config
from utils.config.json_files import read_json
from utils.config.parser import ConfigParser

ROOT = Path(__file__).parents[2]
MEANT = {"digits/config_digits_ir40_swa.json": ["lr_scheduler.args.step2"]}  # its learning rate stays constant
CIFAR = ROOT / "configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json"
IMAGENET = ROOT / "configs/mixup/standard_training/config_imagenet_lt_resnet50_bs-experts.json"


def changed(path: Path, changes: dict[str, Any]) -> RunConfig:
    return run_config(ConfigParser(with_changes(read_json(path), changes), source="a test"))


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_is_doubted_about_the_recipes_of_the_repository_but_what_is_meant(name: str) -> None:
    warnings = find_config_warnings(run_config(ConfigParser(RECIPES[name], source=name)))
    assert [warning.path for warning in warnings] == MEANT.get(name, [])


@pytest.mark.parametrize(
    ("path", "changes", "doubted"),
    [
        (CIFAR, {"loss.args.tau_list": "0;0;0"}, "loss.args.tau_list: the mean τ is 0; .* frequent"),
        (CIFAR, {"loss.args.tau_list": [2, 2, 2]}, "loss.args.tau_list: the mean τ is 2; .* rare"),
        (CIFAR, {"lr_scheduler.args.step2": 100}, "lr_scheduler.args.step2: 100 comes before step1 = 160"),
        (CIFAR, {"lr_scheduler.args.step2": 200}, "lr_scheduler.args.step2: 200 is never reached in 200 epochs"),
        (CIFAR, {"lr_scheduler.args.warmup_epoch": 200}, "lr_scheduler.args.warmup_epoch: 200 epochs of warm-up"),
        (IMAGENET, {"trainer.epochs": 90}, "lr_scheduler.args.T_max: 180 against 90 epochs: .* never reaches its end"),
        (IMAGENET, {"trainer.epochs": 200}, "lr_scheduler.args.T_max: 180 against 200 epochs: .* rises again"),
        (CIFAR, {"trainer.early_stop": 5}, "trainer.early_stop: 'max val_accuracy' is only known with validation"),
        (CIFAR, {"trainer.early_stop": 5, "trainer.monitor": "off"}, "trainer.early_stop: nothing is monitored"),
        (CIFAR, {"data_loader.args.balanced": True}, "data_loader.args.balanced: .* correct twice"),
        (
            CIFAR,
            {"finetuning_combiner": {"mode": "default", "initial_epoch": 201}},
            "finetuning_combiner.initial_epoch: 201 is never reached in 200 epochs",
        ),
        (
            CIFAR,
            {"optimizer": {"type": "Rprop", "args": {}}},
            "optimizer.type: Rprop uses its rate in the first update",
        ),
    ],
)
def test_what_is_surely_not_meant_is_doubted_once(path: Path, changes: dict[str, Any], doubted: str) -> None:
    (doubt,) = find_config_warnings(changed(path, changes))
    assert re.match(doubted, str(doubt))


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (CIFAR, {"loss.args.tau_list": "0.5;1;2"}),
        (CIFAR, {"lr_scheduler.args.step2": 199}),
        (CIFAR, {"trainer.early_stop": 5, "trainer.validate": True}),
        (CIFAR, {"optimizer": {"type": "ASGD", "args": {}}}),
        (CIFAR, {"optimizer": {"type": "SGD", "args": {"lr": 1e-12}}}),
        (CIFAR, {"finetuning_combiner": {"mode": "default", "initial_epoch": 200}}),
        (CIFAR, {"optimizer": {"type": "Adafactor", "args": {}}}),
        (CIFAR, {"data_loader.args.balanced": True, "loss": {"type": "CrossEntropyLoss", "args": {}}}),
    ],
)
def test_what_may_well_be_meant_is_not(path: Path, changes: dict[str, Any]) -> None:
    assert find_config_warnings(changed(path, changes)) == []


@pytest.mark.parametrize(
    ("monitor", "counts", "doubted"),
    [
        ("max val_many", [100, 20, 5], True),
        ("max val_many", [101, 20, 5], False),
        ("max val_few_shot_acc", [101, 50, 20], True),
        ("max val_few_shot_acc", [101, 50, 19], False),
        ("max val_accuracy", [1, 1, 1], False),
    ],
)
def test_a_monitored_group_without_classes_is_doubted(monitor: str, counts: list[int], doubted: bool) -> None:
    config = changed(CIFAR, {"trainer.monitor": monitor, "metrics": ["accuracy", "many"]})
    found = [str(warning) for warning in find_config_warnings(config, class_counts=counts)]
    assert len(found) == doubted
    assert all(line.startswith("trainer.monitor: no class has") for line in found)

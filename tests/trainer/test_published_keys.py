"""Keys of published configurations that are easy to misread: monitors, `early_stop`, `initial_epoch`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from base import Monitor
from tests.trainer.small_runs import run, small_config, small_trainer
from trainer.config.run_config import RunConfig, find_problems, run_config
from utils.config.parser import ConfigParser

LAYERS = {"arch__args__layer2_output_dim": 8, "arch__args__layer3_output_dim": 8}


pytestmark = pytest.mark.usefixtures("_quick_throughout")


def typed(**changes: Any) -> RunConfig:
    return run_config(ConfigParser(small_config(**changes), source="a test"))


# -- monitors and metrics by their published names --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "recorded"),
    [
        ("max val_many_shot_acc", "val_many", ["accuracy", "many"]),
        ("max val_medium_shot_acc", "val_medium", ["accuracy", "medium"]),
        ("max val_few_shot_acc", "val_few", ["accuracy", "few"]),
        ("max val_balanced_acc", "val_balanced_accuracy", ["accuracy", "balanced_accuracy"]),
        ("max balanced_acc", "val_balanced_accuracy", ["accuracy", "balanced_accuracy"]),
        ("min few_shot_acc", "val_few", ["accuracy", "few"]),
        ("max val_accuracy", "val_accuracy", ["accuracy"]),
        ("max val_balanced_accuracy", "val_balanced_accuracy", ["accuracy"]),
    ],
)
def test_a_monitor_may_have_its_published_name(text: str, name: str, recorded: list[str]) -> None:
    config = typed(trainer__monitor=text)
    assert config.monitor == Monitor("min" if text.startswith("min") else "max", name)
    assert config.recorded_metrics == recorded


def test_averaged_weights_have_these_monitors_too() -> None:
    config = typed(trainer__monitor="max val_averaged_few_shot_acc", method={"type": "EMA"})
    assert config.monitor.name == "val_averaged_few"


def test_metrics_may_have_their_published_names() -> None:
    published = ["accuracy", "many_shot_acc", "medium_shot_acc", "few_shot_acc", "balanced_acc", "few"]
    config = typed(metrics=published, trainer__monitor="max val_few")
    assert config.recorded_metrics == ["accuracy", "many", "medium", "few", "balanced_accuracy"]


@pytest.mark.parametrize("text", ["max val_many", "max many_shots_acc", "max xfew_shot_acc", "few_shot_acc"])
def test_what_is_no_published_name_is_refused(text: str) -> None:
    (problem,) = find_problems(small_config(trainer__monitor=text))
    assert problem.path == "trainer.monitor"


def test_the_best_epoch_is_chosen_by_a_published_name(tmp_path: Path) -> None:
    """78 training images of 10 classes, 20 to 2: all but one have few, none has many."""
    changes = {**LAYERS, "trainer__validate": True, "trainer__epochs": 3, "trainer__monitor": "max val_few_shot_acc"}
    content = run(tmp_path, small_config(**changes))
    history = content["progress"]["history"]
    values = [line["val_few"] for line in history]
    assert content["progress"]["best"] == max(values)
    assert content["progress"]["best_epoch"] == 1 + values.index(max(values))
    assert all({"val_accuracy", "val_balanced_accuracy"} < line.keys() for line in history)


# -- early_stop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patience", [1, 2])
def test_training_ends_after_as_many_epochs_without_improvement_as_early_stop_says(
    tmp_path: Path, patience: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is learnt at a rate of 0, so that the first epoch stays the best; a continued run ends at once."""
    still = {"optimizer__args__lr": 0.0, "trainer__epochs": 9, "trainer__early_stop": patience}
    config = small_config(**LAYERS, **still, trainer__validate=True, trainer__monitor="max val_accuracy")
    trainer = small_trainer(tmp_path, config)
    trainer.validate = lambda epoch: {"val_accuracy": 0.5}  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        trainer.train()
    last = 1 + patience
    assert (trainer.state.best_epoch, trainer.state.epoch) == (1, last)
    assert "Early stopping: val_accuracy has not improved since epoch 1." in caplog.messages
    again = small_trainer(tmp_path, config, resume=tmp_path / f"checkpoint-epoch{last}.pth")
    again.train()
    assert again.state.epoch == last


# -- finetuning_combiner.initial_epoch --------------------------------------------------------------------------------


@pytest.mark.parametrize(("initial_epoch", "plain_epochs"), [(4, 3), (3, 2), (2, 1), (1, 0), (5, 4)])
def test_the_finetuning_combiner_mixes_from_its_initial_epoch_on(
    tmp_path: Path, initial_epoch: int, plain_epochs: int
) -> None:
    """Epochs count from 1: at the last epoch's number it changes that one alone, behind it none."""
    changes = {**LAYERS, "trainer__epochs": 4}
    plain = run(tmp_path / "plain", small_config(**changes))
    section = {"type": "Combiner", "mode": "default", "initial_epoch": initial_epoch}
    tuned = run(tmp_path / "tuned", small_config(**changes, finetuning_combiner=section))
    pairs = zip(tuned["progress"]["history"], plain["progress"]["history"], strict=True)
    same = [one == other for one, other in pairs]
    assert same == [epoch < initial_epoch for epoch in (1, 2, 3, 4)]
    assert sum(same) == plain_epochs
    first = "backbone.conv1.weight"
    assert torch.equal(tuned["state_dict"][first], plain["state_dict"][first]) == (initial_epoch > 4)

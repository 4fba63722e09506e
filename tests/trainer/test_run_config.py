"""The typed configuration of a run: every default stands once, τ and the monitor are what they mean."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from base import Monitor, TrainerOptions
from tests.trainer.config_mutator import RECIPES
from tests.trainer.small_runs import small_config
from trainer.config.run_config import InitialiseOptions, RunConfig, find_problems, run_config
from trainer.methods.mixing import CombinerOptions, FinetuningCombinerOptions, MixupOptions
from utils.config.json_files import read_json
from utils.config.parser import ConfigParser
from utils.config.sections import Section
from utils.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def typed(**changes: Any) -> RunConfig:
    return run_config(ConfigParser(small_config(**changes), source="a test"))


def test_sections_are_objects_with_every_default_filled_in() -> None:
    config = typed(trainer={"epochs": 3, "save_dir": "saved"})
    assert config.trainer == TrainerOptions(epochs=3, save_dir="saved")
    assert config.combiner == CombinerOptions(mode="mixup", mixup=MixupOptions(alpha=0.4))
    assert config.method == Section("Supervised")
    assert config.update_rule == Section("Descent")
    assert config.loss.extras == {"tau_min": None, "tau_max": None, "return_expert_losses": False}
    assert (config.finetuning_combiner, config.initialise, config.trainable, config.loaders) == (None, None, None, {})
    assert (config.add_extra_info, config.resume_state_dict_only, config.seed) == (True, False, 1)


def test_optional_sections_are_objects_too() -> None:
    config = typed(
        finetuning_combiner={"initial_epoch": 2},
        initialise={"checkpoint": "a.pth", "reset": ["backbone.linears.*"]},
        trainable=["*linear*"],
    )
    assert config.finetuning_combiner == FinetuningCombinerOptions(initial_epoch=2)
    assert config.initialise == InitialiseOptions(checkpoint="a.pth", reset=["backbone.linears.*"], strict=True)
    assert config.trainable == ["*linear*"]


def test_a_typed_configuration_can_not_be_changed() -> None:
    config = typed()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.loss.type = "CrossEntropyLoss"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("loss", "experts", "taus"),
    [
        ({"type": "BSExpertLoss", "args": {"tau_list": [0, 2]}}, 2, [0.0, 2.0]),
        ({"type": "BSExpertLoss", "args": {"tau_list": "-1;1;3"}}, 3, [-1.0, 1.0, 3.0]),
        ({"type": "BSExpertLoss", "args": {"tau_list": "limits"}, "tau_min": 0, "tau_max": 2.5}, 3, [0.0, 1.25, 2.5]),
        ({"type": "BSExpertLoss", "args": {"tau_list": "uniform"}, "tau_min": 0, "tau_max": 2}, 2, [0.5, 1.5]),
    ],
)
def test_tau_is_a_number_for_each_expert_however_it_was_given(loss: Any, experts: int, taus: list[float]) -> None:
    config = typed(loss=loss, arch__args__num_experts=experts)
    assert config.taus == taus
    assert config.loss.args["tau_list"] == taus
    assert config.num_experts == experts


def test_a_loss_without_tau_has_none() -> None:
    assert typed(loss={"type": "CrossEntropyLoss"}).taus is None


def test_the_number_of_experts_is_the_networks_default_where_it_is_left_out() -> None:
    config = small_config(loss={"type": "CrossEntropyLoss"})
    del config["arch"]["args"]["num_experts"]
    assert run_config(ConfigParser(config, source="a test")).num_experts == 1


def test_the_monitor_is_read() -> None:
    assert typed(trainer__monitor="max val_accuracy").monitor == Monitor("max", "val_accuracy")
    assert typed().monitor.mode == "off"


def test_the_plain_data_stay_what_the_file_says() -> None:
    parser = ConfigParser(small_config(loss__args__tau_list="0;2"), source="a test")
    run_config(parser)
    assert parser.config == small_config(loss__args__tau_list="0;2")


def test_problems_come_all_at_once_with_their_origins() -> None:
    overrides = {"trainer.epochs": (0, "--epochs")}
    parser = ConfigParser(small_config(method={"type": "Nothing"}), source="x.json", overrides=overrides)
    with pytest.raises(ConfigError) as caught:
        run_config(parser)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0] == "trainer.epochs: expected an integer, at least 1; got 0 (set by --epochs)"
    assert lines[1].startswith("method.type: 'Nothing' is not one of ")
    assert lines[1].endswith("(in x.json)")


def test_every_recipe_of_the_repository_is_typed() -> None:
    for name, recipe in RECIPES.items():
        config = run_config(ConfigParser(recipe, source=name))
        assert config.name == recipe["name"]
        assert config.taus is None or len(config.taus) == config.num_experts


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*_ce.json")), ids=lambda path: path.stem)
def test_plain_cross_entropy_differs_from_its_counterpart_in_loss_experts_and_mixing_alone(path: Path) -> None:
    ours = typed_recipe(path)
    other = typed_recipe(path.with_name(path.name.replace("_ce", "_bs-experts")))
    different = {name for name in vars(ours) if getattr(ours, name) != getattr(other, name)} - {"taus", "monitor"}
    assert different == {"name", "arch", "loss", "combiner"}
    assert ours.arch == other.arch.with_args(num_experts=1)
    assert (ours.loss.type, dict(ours.loss.args), ours.combiner.mode) == ("CrossEntropyLoss", {}, "default")


def typed_recipe(path: Path) -> RunConfig:
    return run_config(ConfigParser(read_json(path), source=str(path)))


def test_the_published_eighteen_extend_nothing() -> None:
    paths = sorted((CONFIGS / "mixup").rglob("*.json"))
    assert len(paths) == 18
    for path in paths:
        assert json.loads(path.read_text(encoding="utf8")) == read_json(path)


def test_a_trained_network_needs_no_optimiser_that_can_be_built() -> None:
    """One whose arguments only its own version of PyTorch takes is evaluated all the same."""
    config = small_config(optimizer={"type": "SGD", "args": {"lr": 0.1, "momentum": 0, "nesterov": True}})
    assert [problem.path for problem in find_problems(config)] == ["optimizer"]
    assert find_problems(config, trained=True) == []

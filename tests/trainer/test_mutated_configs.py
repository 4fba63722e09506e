"""Configurations made wrong at random: refused at a path, or built; nothing in between."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.config_mutator import MUTATIONS, RECIPES, begins_with_a_path, judge, mutant
from tests.trainer.small_runs import small_config
from trainer.config.run_config import find_problems
from utils.config.json_files import read_json
from utils.errors import UserError

pytestmark = pytest.mark.usefixtures("_quick")

MUTANTS = 150
BLOCKS = 5


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_mutant_is_refused_at_a_path_or_can_be_built(block: int) -> None:
    size = MUTANTS // BLOCKS
    outcomes = []
    for seed in range(block * size, (block + 1) * size):
        description, config = mutant(seed)
        try:
            outcomes.append(judge(config))
        except Exception as error:
            raise AssertionError(description) from error
    assert "refused" in outcomes


def test_the_mutants_are_many_different_ones() -> None:
    texts = [json.dumps(mutant(seed)[1], default=str) for seed in range(MUTANTS)]
    assert len(set(texts)) > 0.95 * MUTANTS
    assert mutant(7)[0] == mutant(7)[0]
    changed = [text for text in texts if text not in {json.dumps(recipe) for recipe in RECIPES.values()}]
    assert len(changed) > 0.9 * MUTANTS


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_every_mutation_makes_a_difference(mutate: Any) -> None:
    recipe = RECIPES["digits/config_digits_ir40_bs-experts.json"]
    results = []
    for seed in range(10):
        config = copy.deepcopy(recipe)
        mutate(config, random.Random(seed))
        results.append(repr(config))
    assert len(set(results) - {repr(recipe)}) > 1


def test_all_recipes_themselves_are_built() -> None:
    assert [name for name, recipe in RECIPES.items() if judge(copy.deepcopy(recipe)) != "built"] == []


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("arch.args.num_classes: wrong", True),
        ("metrics[0]: wrong", True),
        ('trainer."ep.ochs": wrong', True),
        ("arch.arks.num_classes: wrong", False),
        ("the value is wrong", False),
        ("arch.args.num_classes:wrong", False),
        ("arch.args.num_classes: ", False),
        (": wrong", False),
    ],
)
def test_the_test_knows_a_path(line: str, good: bool) -> None:
    assert begins_with_a_path(line, small_config(metrics=["accuracy"])) == good


# -- what the mutants have found --------------------------------------------------------------------------------------

# changes to a sound configuration, and the path of the one line that refuses it
FOUND: dict[str, tuple[dict[str, Any], str]] = {
    "a batch that no memory holds": ({"data_loader__args__batch_size": 10_000_001}, "data_loader.args.batch_size"),
    "workers that no machine has": ({"data_loader__args__num_workers": 10_001}, "data_loader.args.num_workers"),
    "an integer that no machine counts to": ({"data_loader__args__batch_size": 10**30}, "data_loader.args.batch_size"),
    "more GPUs than there are": ({"n_gpu": 10**18}, "n_gpu"),
    "more micro-batches than images": ({"trainer__accumulate_steps": 10**9}, "trainer.accumulate_steps"),
    "a momentum that is none": ({"optimizer__args__momentum": 2.0**63}, "optimizer.args.momentum"),
    "a length that is negative": (
        {"lr_scheduler": {"type": "CosineAnnealingLR", "args": {"T_max": -3}}},
        "lr_scheduler.args.T_max",
    ),
    "a step that is negative": (
        {"lr_scheduler": {"type": "StepLR", "args": {"step_size": -1}}},
        "lr_scheduler.args.step_size",
    ),
    "an integer that is no float": ({"arch__args__s": 10**400}, "arch.args.s"),
    "a billion experts": (
        {"arch__args__num_experts": 10**9, "loss__args__tau_list": "limits"},
        "arch.args.num_experts",
    ),
    "a τ that is infinite in float32": ({"loss__args__tau_list": [0, 1e300]}, "loss.args.tau_list"),
    "a zero in a path": ({"trainer__save_dir": "a\0b"}, "trainer.save_dir"),
    "half a character": ({"name": "\ud800"}, "name"),
    "a key of two lines": ({"trainer__a\nb": 1}, r'trainer."a\nb"'),
    "a key with a dot": ({"trainer__a.b": 1}, 'trainer."a.b"'),
    "an empty key": ({"": 1}, '""'),
    "two implementations of one step": (
        {"optimizer__args__foreach": True, "optimizer__args__fused": True},
        "optimizer",
    ),
    "an update that is differentiated through": ({"optimizer__args__differentiable": True}, "optimizer"),
    "a length of zero": (
        {"lr_scheduler": {"type": "CosineAnnealingLR", "args": {"T_max": 0}}},
        "lr_scheduler.args.T_max",
    ),
    "a step of zero": ({"lr_scheduler": {"type": "StepLR", "args": {"step_size": 0}}}, "lr_scheduler.args.step_size"),
    "a schedule shorter than the training": (
        {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 10}}, "trainer__epochs": 12},
        "lr_scheduler",
    ),
    "a schedule that an optimiser does not suit": (
        {
            "lr_scheduler": {"type": "CyclicLR", "args": {"base_lr": 0.1, "max_lr": 1.0}},
            "optimizer": {"type": "Adagrad", "args": {}},
        },
        "lr_scheduler",
    ),
    "a rate that becomes infinite": (
        {"lr_scheduler": {"type": "ExponentialLR", "args": {"gamma": 1e200}}, "trainer__epochs": 4},
        "lr_scheduler",
    ),
    "a rate that becomes negative": (
        {"lr_scheduler": {"type": "ExponentialLR", "args": {"gamma": -0.5}}},
        "lr_scheduler.args.gamma",
    ),
    "a schedule that begins in the middle": (
        {"lr_scheduler": {"type": "ExponentialLR", "args": {"gamma": 0.5, "last_epoch": 3}}},
        "lr_scheduler",
    ),
}


@pytest.mark.parametrize("mistake", FOUND)
def test_what_mutants_have_found_is_one_line_at_its_path(mistake: str) -> None:
    changes, path = FOUND[mistake]
    found = find_problems(small_config(**changes))
    assert len(found) == 1, found
    line = str(found[0])
    assert line.startswith(f"{path}: ")
    assert len(line.splitlines()) == 1
    assert len(line) < 300 or "allowed here" in line


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 12}}, "trainer__epochs": 12},
        {"lr_scheduler": {"type": "CyclicLR", "args": {"base_lr": 0.1, "max_lr": 1.0}}},
        {"lr_scheduler": {"type": "ExponentialLR", "args": {"gamma": 1.01}}, "trainer__epochs": 400},
        {"optimizer": {"type": "Adadelta", "args": {}}},
        {"optimizer": {"type": "Adam", "args": {"betas": [0.8, 0.9], "amsgrad": True}}},
        {"arch__args__num_experts": 100, "loss__args__tau_list": "limits", "loss__tau_min": 0, "loss__tau_max": 2},
        {"data_loader__args__batch_size": 10_000_000},
    ],
)
def test_unusual_configurations_that_work_pass(changes: dict[str, Any]) -> None:
    assert find_problems(small_config(**changes)) == []


@pytest.mark.parametrize("text", ['{"a": ' + "9" * 5000 + "}", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_a_file_that_python_does_not_read_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(UserError, match=r"odd\.json: can't be read") as caught:
        read_json(tmp_path / "odd.json")
    assert len(str(caught.value).splitlines()) == 1

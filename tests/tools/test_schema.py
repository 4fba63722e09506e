"""The JSON schema for editors: an independent validator takes what the program takes and marks typical mistakes."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.trainer.config_mutator import RECIPES, mutant, places
from tests.trainer.small_runs import small_config
from tools import schema
from trainer.config.run_config import RunConfig
from utils.config.json_files import without_comments
from utils.config.json_schema import json_schema
from utils.config.schema import problems

CONFIGS = Path(__file__).parents[2] / "configs"
SCHEMA = json_schema(RunConfig)
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_command_prints_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["schema"])
    schema.main()
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_it_is_a_schema_itself() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_repository_fits_as_a_file_and_resolved(name: str) -> None:
    assert VALIDATOR.is_valid(RECIPES[name])
    assert VALIDATOR.is_valid(json.loads(without_comments((CONFIGS / name).read_text(encoding="utf8"))))


MISTAKES: dict[str, dict[str, Any]] = {
    "a misspelt key": {"trianer": {}},
    "a misspelt option": {"trainer__epoch": 3},
    "a misspelt argument": {"optimizer__args__momentun": 0.9},
    "an argument of another network's": {"arch__args__depth": 3},
    "a number as text": {"optimizer__args__lr": "0.1"},
    "a number out of range": {"data_loader__args__batch_size": 0},
    "a fraction out of range": {"data_loader__args__validation_split": 1},
    "a switch as a number": {"trainer__validate": 1},
    "an unknown word": {"combiner__mode": "mixupp"},
    "an unknown type": {"lr_scheduler__type": "CosineAnealingLR"},
    "an unknown metric": {"metrics": ["accuracy", "accurancy"]},
    "what the program supplies": {"loss__args__cls_num_list": [1]},
    "a missing argument": {"lr_scheduler": {"type": "StepLR"}},
    "an unknown unit": {"lr_scheduler__step_unit": "seconds"},
    "a schedule within a schedule": {
        "lr_scheduler": {
            "type": "ChainedScheduler",
            "args": {"schedulers": [{"type": "LinearLR", "args": {"total_iter": 3}}]},
        }
    },
    "a part's own unit": {
        "lr_scheduler": {
            "type": "ChainedScheduler",
            "args": {"schedulers": [{"type": "LinearLR", "step_unit": "step"}]},
        }
    },
    "a missing type": {"loss": {"args": {}}},
    "a section that is none": {"arch": "ResNet32Model"},
    "a method's number out of range": {"method": {"type": "EMA", "args": {"decay": 1.5}}},
    "a method within a method": {"method": {"type": "EMA", "args": {"method": {"type": "Supervize"}}}},
    "a further loader": {"loaders__unlabelled": {"type": "ImbalanceDigitsDataLoader", "args": {"batch_sise": 3}}},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_typical_mistake_does_not_fit(mistake: str) -> None:
    assert VALIDATOR.is_valid(small_config())
    assert not VALIDATOR.is_valid(small_config(**MISTAKES[mistake]))


def test_schedules_within_a_schedule_fit() -> None:
    part = {"type": "LinearLR", "args": {"total_iters": 3}}
    chain = {"type": "ChainedScheduler", "step_unit": "step", "args": {"schedulers": [part]}}
    assert VALIDATOR.is_valid(small_config(lr_scheduler=chain))


@pytest.mark.parametrize("section", ["name", "arch", "data_loader", "optimizer", "lr_scheduler", "loss", "trainer"])
def test_a_file_that_extends_another_may_leave_out_what_that_has(section: str) -> None:
    config = small_config()
    del config[section]
    assert not VALIDATOR.is_valid(config)
    assert VALIDATOR.is_valid({**config, "extends": "other.json"})
    assert not VALIDATOR.is_valid({**config, "extends": 3})
    assert not VALIDATOR.is_valid({**config, "extends": "other.json", "metrics": ["accurancy"]})


def test_comments_fit_everywhere() -> None:
    assert VALIDATOR.is_valid(small_config(_comment="a", trainer___comment="b", arch__args___comment_on_s=["c"]))


def within_json_schema(value: Any) -> bool:
    """Whether JSON Schema can tell what the program does: to it 1.0 is an integer, and nothing is too large."""
    if isinstance(value, float):
        return math.isfinite(value) and not value.is_integer()
    if isinstance(value, int):
        return abs(value) < 2**63
    return not isinstance(value, str) or not re.search(r"[\0\ud800-\udfff]", value)


def test_it_agrees_with_the_program_about_mutants() -> None:
    agreed = {True: 0, False: 0}
    for seed in range(200):
        description, config = mutant(seed)
        if all(within_json_schema(container[key]) for container, key in places(config)):
            fits = not problems(config, RunConfig, "")
            assert VALIDATOR.is_valid(config) == fits, description
            agreed[fits] += 1
    assert min(agreed.values()) > 20


def test_arguments_are_explained_by_their_docstrings() -> None:
    definitions = SCHEMA["$defs"]
    options = definitions["whole base.trainer_options.TrainerOptions"]["properties"]
    assert options["epochs"] == {"type": "integer", "minimum": 1, "description": "epochs to train."}
    momentum = definitions["whole torch.optim.sgd.SGD"]["properties"]["momentum"]
    assert momentum["description"].startswith("momentum factor")

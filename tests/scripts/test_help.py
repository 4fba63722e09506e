"""What `--help` says: the sections of a configuration with types, arguments and defaults; the columns of the tables."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from typing import get_args

import pytest

import train
from model.metrics import METRICS
from tests.scripts.command_line import EVALUATIONS, Shell
from trainer.config.run_config import RunConfig
from utils.config.components import Component, component_of, extras_of, fields_of

FIELDS = {name: argument.annotation for name, argument in fields_of(RunConfig).items()}
COMPONENTS = {name: component for name, hint in FIELDS.items() if (component := component_of(hint)) is not None}
DATACLASSES = {
    name: kind
    for name, hint in FIELDS.items()
    for kind in (hint, *get_args(hint))
    if isinstance(kind, type) and is_dataclass(kind) and name not in COMPONENTS
}


def test_every_section_has_its_help() -> None:
    assert set(train.SECTIONS) == {*COMPONENTS, *DATACLASSES, "metrics"}


def listed_arguments(text: str) -> dict[str, str]:
    return dict(re.findall(r"^      (\w+): (.*(?:\n {10}.*)*)", text, re.MULTILINE))


@pytest.mark.parametrize(("name", "component"), COMPONENTS.items())
def test_a_sections_types_are_listed_with_their_arguments_and_defaults(
    shell: Shell, name: str, component: Component
) -> None:
    ended = shell("train.py", "--help", name)
    assert (ended.code, ended.err) == (0, "")
    blocks = ended.out.split("\n\n")
    for kind, constructor in component.choices().items():
        (block,) = [block for block in blocks if re.search(rf"^  {kind}(?:  |$)", block, re.MULTILINE)]
        arguments = {key: field for key, field in fields_of(constructor).items() if key not in component.injected}
        told = listed_arguments(block)
        assert list(told) == list(arguments)
        for key, field in arguments.items():
            assert (re.search("(^|; )required[.]", told[key]) is not None) == field.required
            if isinstance(field.default, bool | int | float):
                assert f"default {str(field.default).lower()}." in told[key]
    assert all(f"      {key}: " in ended.out for key in extras_of(component))


@pytest.mark.parametrize(("name", "kind"), DATACLASSES.items())
def test_a_sections_keys_are_listed(shell: Shell, name: str, kind: type) -> None:
    assert list(listed_arguments(shell("train.py", "--help", name).out)) == list(fields_of(kind))


def test_lines_by_hand(shell: Shell) -> None:
    networks = shell("train.py", "--help", "arch").out
    assert "  ResNet32Model  ResNet-32 for 32×32 images, parameter-free shortcuts (A).\n" in networks
    assert "      use_norm: true or false; default false. cosine classifiers instead of linear ones.\n" in networks
    assert "      num_classes: an integer, at least 1; required. C.\n" in networks
    schedules = shell("train.py", "--help", "lr_scheduler").out
    assert "      gamma: a number, more than 0; default 0.1. γ.\n" in schedules
    assert "default Supervised;" in shell("train.py", "--help", "method").out
    assert "balanced_accuracy" in shell("train.py", "--help", "metrics").out


def test_the_help_of_training_leads_to_that_of_its_sections(shell: Shell) -> None:
    said = " ".join(shell("train.py", "--help").out.split())
    assert all(f"{name} ({about})" in said for name, about in train.SECTIONS.items())
    assert shell("train.py", "-h").out == shell("train.py", "--help").out
    assert shell("train.py", "--help", "los").err.startswith("error: argument -h/--help: invalid choice: 'los'")


@pytest.mark.parametrize("script", EVALUATIONS)
def test_the_help_of_evaluation_explains_every_column(shell: Shell, script: str) -> None:
    said = shell(script, "--help").out
    titles = [f"{metric.title} %" if metric.percent else metric.title for metric in METRICS.values() if metric.in_table]
    assert len(titles) > 5
    for title in (*titles, "predictor", "distribution", "weights", "images", "ECE before %", "prior L1", "accuracy %"):
        assert re.search(rf"^  {re.escape(title)}  +\w", said, re.MULTILINE), title

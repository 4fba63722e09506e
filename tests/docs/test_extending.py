"""The additions of docs/extending.md, each put where the page says and used as the page says: they work."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import pytest
import torch

import trainer.methods as methods
from model.losses.cross_entropy import CrossEntropyLoss
from model.metrics import LabelledLogits
from model.targets import MixedTargets
from tests.forks import Fork
from tests.scripts.command_line import ROOT
from tests.trainer.small_runs import small_config, small_trainer
from trainer.evaluation.distributions.split import TestSplit
from utils.files.checkpoint import load_checkpoint

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf8")
SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
FOLDERS = dict(re.findall(r"^\| \[(.+?)\]\(.*?\) \| `(.+?)/` \|", PAGE, re.MULTILINE))
"""What is added → the folder that it belongs in: the page's first table."""
LONGEST = 15  # lines of code
COPIED = ["base", "configs", "data_loader", "model", "tools", "trainer", "utils", "train.py", "test_all_cifar.py"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


FILES = {
    f"{FOLDERS[title.lower()]}/added.py": block
    for title, text in SECTIONS
    for block in blocks(text, "python")
    if "__all__" in block
}
"""Path → source of every complete file of the page."""
CONFIGS = {config["name"]: config for config in map(json.loads, blocks(PAGE, "json"))}

DISTRIBUTIONS = re.findall(r"`--distributions (.+?)` then evaluates", PAGE)[0].split()

COMMANDS = """
import glob, json, sys
from dataclasses import replace
from functools import partial
import train
from model.model import ResNet32Model
from trainer.evaluation.scripts import run_sweep
from tools import schema
from utils.errors import run_main
ResNet32Model.architecture = replace(ResNet32Model.architecture, blocks=(1, 1, 1))
mains = {"train.py": train.main, "schema": schema.main, "test_all_cifar.py": partial(run_sweep, "cifar")}
for script, *arguments in json.loads(sys.argv[1]):
    sys.argv = [script, *(name for argument in arguments for name in glob.glob(argument) or [argument])]
    print("$", script)
    run_main(mains[script])
"""


def code_lines(source: str) -> list[str]:
    """Lines that are no docstring, import, or empty."""
    tree = ast.parse(source)
    left_out: set[int] = set()
    for node in ast.walk(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return [line for number, line in lines if number not in left_out and line.strip()]


def namespace(name: str) -> dict[str, Any]:
    """What the file that lists `name` defines."""
    (source,) = [source for source in FILES.values() if f'__all__ = ["{name}"]' in source]
    names: dict[str, Any] = {"__name__": "added"}
    exec(compile(source, name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the page's files and configurations in it, each of which has been trained."""
    root = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root)
    for path, source in FILES.items():
        assert not (root / path).exists()
        (root / path).write_text(source, encoding="utf8")
    sizes = ["--no-report", "--epochs", "2", "--save_dir", "runs", "--set", "data_loader.args.max_per_class=12"]
    validated = ["--val", "--set", 'metrics=["accuracy", "spherical"]']
    commands = [["schema"]]
    for name, config in CONFIGS.items():
        (root / f"configs/digits/{name}.json").write_text(json.dumps(config), encoding="utf8")
        commands += [["train.py", "-c", f"configs/digits/{name}.json", *sizes, *validated]]
    commands += [["test_all_cifar.py", "-r", checkpoint_pattern("digits_focal"), "--distributions", *DISTRIBUTIONS]]
    done = Fork("program", COMMANDS, json.dumps(commands), folder=root).end()
    assert done.code == 0, done.out[-2000:] + done.err
    (root / "output.txt").write_text(done.out, encoding="utf8")
    return root


def checkpoint_pattern(name: str) -> str:
    return f"runs/models/{name}/*/checkpoint-epoch2.pth"


def checkpoint_of(checkout: Path, name: str) -> Path:
    (path,) = checkout.glob(checkpoint_pattern(name))
    return path


@pytest.mark.parametrize("path", FILES)
def test_an_addition_is_short_and_says_what_it_is(path: str) -> None:
    assert len(code_lines(FILES[path])) <= LONGEST
    assert ast.get_docstring(ast.parse(FILES[path]))


def test_every_kind_of_addition_has_an_example() -> None:
    shown = {Path(path).parent.as_posix() for path in FILES} | {"trainer/engine/update_rules"}  # SAM is the example
    assert set(FOLDERS.values()) == shown
    assert len(FILES) == sum("__all__" in block for block in blocks(PAGE, "python")), "one of each kind"
    assert {title.lower() for title, _ in SECTIONS} == set(FOLDERS)


def test_lines_of_code_are_counted_without_docstrings_imports_and_empty_ones() -> None:
    source = '"""A\n\nb."""\n\nimport x\nfrom y import (\n    z,\n)\n\ndef f():\n    """Doc."""\n    return 1\n'
    assert code_lines(source) == ["def f():", "    return 1"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_of_the_page_trains(checkout: Path, name: str) -> None:
    content = load_checkpoint(checkpoint_of(checkout, name))
    history = content["progress"]["history"]
    assert [line["epoch"] for line in history] == [1, 2]
    assert all(np.isfinite(list(line.values())).all() for line in history)
    assert all(0 <= line["val_spherical"] <= 1 for line in history), "the page's metric is logged"


def test_the_schema_for_editors_knows_what_is_added(checkout: Path) -> None:
    schema = (checkout / "output.txt").read_text(encoding="utf8").partition("$ train.py")[0]
    for name in ("FocalLoss", "gamma", "Deferred", "SquaresDataLoader", "spherical"):
        assert f'"{name}"' in schema


def test_the_sweeps_evaluate_on_the_pages_distribution_by_its_metric(checkout: Path) -> None:
    told = (checkout / "output.txt").read_text(encoding="utf8").partition("$ test_all_cifar.py")[2]
    (header,) = [line for line in told.splitlines() if line.lstrip().startswith("distribution")]
    assert "spherical" in header
    rows = json.loads((checkpoint_of(checkout, "digits_focal").parent / "results.json").read_text(encoding="utf8"))[
        "results"
    ]
    assert {row["distribution"]: row["images"] for row in rows} == {"uniform": 500, "rarest3": 150}
    assert all(0 <= row["spherical"] <= 1 for row in rows)


def test_focal_loss_with_gamma_zero_is_cross_entropy() -> None:
    focal = namespace("FocalLoss")["FocalLoss"]
    logits = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0, 3])
    for targets in (MixedTargets(labels), MixedTargets(labels, labels.roll(1), 0.3)):
        expected = CrossEntropyLoss()(logits[0], targets)
        torch.testing.assert_close(focal(gamma=0.0)(logits[0], targets), expected)
        assert focal(gamma=2.0)(logits[0], targets) < expected


def test_the_rarest_classes_are_those_with_the_fewest_training_images() -> None:
    split = TestSplit(np.array([0, 1, 2, 3, 0, 1, 2, 3]), [5, 40, 2, 9])
    assert namespace("rarest")["rarest"](split, 2).tolist() == [0, 2, 4, 6]


def test_the_spherical_score_by_hand() -> None:
    """0.8 / √0.68 and 0.5 / √0.5."""
    logits = np.log([[0.8, 0.2], [0.5, 0.5]])
    metric = namespace("spherical")["spherical"]
    expected = (0.8 / 0.68**0.5 + 0.5**0.5) / 2
    assert metric.of_set(LabelledLogits(logits, np.array([0, 1]), np.array([1, 1]))) == pytest.approx(expected)


def test_the_deferred_method_changes_its_loss_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of cross-entropy of the ensemble, then one of the paper's loss."""
    monkeypatch.setattr(methods, "Deferred", namespace("Deferred")["Deferred"], raising=False)
    monkeypatch.setattr(methods, "__all__", [*methods.__all__, "Deferred"])
    trainer = small_trainer(tmp_path, small_config(method=CONFIGS["digits_deferred"]["method"]))
    trainer.recorder.close()
    seen = []
    for epoch in (1, 2):
        trainer.method.start_epoch(epoch)
        seen.append(trainer.method.give_expert_logits)
    assert seen == [False, True]


@pytest.mark.parametrize("num_experts", [1, 2])
def test_the_new_objective_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_experts: int) -> None:
    """The page shows its `forward` alone."""
    (block,) = [block for block in blocks(PAGE, "python") if "\ndef forward" in block]
    imports, _, forward = block.partition("\n")
    names: dict[str, Any] = {"__name__": "added", "Supervised": methods.Supervised}
    names |= {"Mapping": Mapping, "F": torch.nn.functional}
    exec(imports.removeprefix("# "), names)
    exec(f"class Plain(Supervised):\n{indent(forward, '    ')}", names)
    monkeypatch.setattr(methods, "Plain", names["Plain"], raising=False)
    monkeypatch.setattr(methods, "__all__", [*methods.__all__, "Plain"])
    experts = {"arch__args__num_experts": num_experts, "loss__args__tau_list": [1] * num_experts}
    trainer = small_trainer(tmp_path, small_config(method={"type": "Plain"}, trainer__epochs=5, **experts))
    trainer.train()
    first, *_, last = (log["loss"] for log in trainer.state.history)
    assert 0 < last < first

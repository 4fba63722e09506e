"""Every key of the schema, changed on `-r`: it has its effect on the very next update, or none, or is refused."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from data_loader.loader import ImageDataLoader
from model.experts import ExpertModel
from tests.scripts.command_line import ROOT
from tests.trainer.continued_files import DataSets
from tests.trainer.continued_keys import Case, case_of
from tests.trainer.continued_runs import (
    BEGUN,
    DONE,
    HISTORY,
    BegunRuns,
    Update,
    from_the_start,
    next_update,
    read_once,
    tiny_networks,
)
from tests.trainer.schema_keys import Key, schema_keys
from tests.trainer.small_runs import small_trainer, with_changes
from tests.trainer.toy_methods import register
from trainer.config.components import LR_SCHEDULER, OPTIMIZER
from trainer.config.rules import UNFIT_OPTIMIZERS
from trainer.config.run_config import find_problems
from trainer.trainer import Trainer
from utils.config.sections import Section, build
from utils.errors import CheckpointError, ConfigError, UserError

KEYS = [key for key in schema_keys() if not (key.path.startswith("optimizer.") and key.owner in UNFIT_OPTIMIZERS)]


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        tiny_networks(patch)
        patch.setattr(ExpertModel, "compile", lambda *_, **__: None)  # takes minutes
        register(patch)
        yield


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> DataSets:
    return DataSets(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> BegunRuns:
    return BegunRuns(tmp_path_factory.mktemp("begun"))


class Trial:
    """A case with its configurations: that of the run before, and the changed one."""

    def __init__(self, key: Key, case: Case, data_sets: DataSets, runs: BegunRuns) -> None:
        self.key, self.case, self._data_sets = key, case, data_sets
        self.before = with_changes(BEGUN, self._filled(case.before, runs))
        value = data_sets.other(self._value_before()) if case.value == "other" and self._value_before() else case.value
        changes = {**case.along} | ({key.path: value} if not key.path.endswith(".type") else self._of_type(value))
        self.after = with_changes(self.before, self._filled(changes, runs))

    def _value_before(self) -> str:
        value: Any = self.before
        for name in self.key.path.split("."):
            value = value.get(name, "") if isinstance(value, dict) else ""
        return value if self.key.path.startswith("data_loader.args.") else ""

    def _of_type(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """Another section in place of the one before; a network keeps its arguments."""
        path = self.key.path.removesuffix(".type")
        return {path: {"args": self.before["arch"]["args"], **section} if path == "arch" else section}

    def _filled(self, changes: Mapping[str, Any], runs: BegunRuns) -> dict[str, Any]:
        filled = dict(changes)
        if isinstance(filled.get("data_loader"), str):
            filled["data_loader"] = self._data_sets.section(filled["data_loader"])
        if filled.get("initialise") == "first":
            filled["initialise"] = {"checkpoint": str(runs.checkpoint(BEGUN))}
        if isinstance(filled.get("loaders"), str):
            args = {**BEGUN["data_loader"]["args"], "batch_size": int(filled["loaders"].split()[-1])}
            filled["loaders"] = {"unlabelled": {**BEGUN["data_loader"], "args": args}}
            filled["method"] = {"type": "FixMatch", "args": {"threshold": 0.0}}
        return filled


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def close(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(one[name].double(), other[name].double(), rtol=1e-3, atol=1e-4) for name in one
    )


def by_torch(options: Mapping[str, Any], kind: str, update: Update, moments: Mapping[int, Any]) -> list[Tensor]:
    """The weights after torch's optimiser of these options has gone on from the moments by the update's gradients."""
    weights = [torch.nn.Parameter(weight.clone()) for weight in update.before]
    reference: Optimizer = getattr(torch.optim, kind)(weights, **options)
    for number, (weight, gradient) in enumerate(zip(weights, update.gradients, strict=True)):
        weight.grad = gradient.clone()
        reference.state[weight] = {
            name: moment.clone() if isinstance(moment, Tensor) else moment for name, moment in moments[number].items()
        }
    reference.step()
    return [weight.detach() for weight in weights]


def scheduled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rate and momentum after the epochs done, by the schedule itself, stepped from its beginning."""
    section = config["lr_scheduler"]
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = SGD([weight], **config["optimizer"]["args"])
    schedule = build(
        Section(section["type"], section["args"]), LR_SCHEDULER, context={"optimizer": optimizer}, path="lr_scheduler"
    )
    optimizer.step()
    monitored = HISTORY["val_balanced_accuracy" if section["args"].get("mode") == "max" else "val_loss"]
    steps = DONE * (3 if section.get("step_unit") == "step" else 1)
    for epoch in range(steps):
        schedule.step(*([monitored[epoch]] if section["type"] == "ReduceLROnPlateau" else []))
    return {name: optimizer.param_groups[0][name] for name in ("lr", "momentum")}


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_key_changed_on_continuation_has_its_effect_at_once_or_is_refused(
    tmp_path: Path, data_sets: DataSets, runs: BegunRuns, key: Key
) -> None:
    case = case_of(key)
    trial = Trial(key, case, data_sets, runs)
    checkpoint = runs.checkpoint(trial.before)

    def go_on() -> Update:
        return next_update(small_trainer(tmp_path / "on", trial.after, resume=checkpoint))

    if case.effect == "refused":
        with pytest.raises(UserError) as told:
            go_on()
        assert case.line in str(told.value)
        assert "\n" not in str(told.value)
        assert ("can't be continued with" in str(told.value)) <= ("resume_state_dict_only=true" in str(told.value))
        return
    update, as_it_is = go_on(), runs.as_it_is(trial.before)
    if case.effect == "same weights":
        assert close(update.networks, as_it_is.networks)
        return
    assert not equal(update.networks, as_it_is.networks), "it has no effect"
    if key.path.startswith("optimizer.args"):
        options, kind = trial.after["optimizer"]["args"], trial.after["optimizer"]["type"]
        expected = by_torch(options, kind, update, read_once(checkpoint)["optimizer"]["state"])
        assert all(map(torch.equal, update.after, expected))
    elif key.path.startswith("lr_scheduler"):
        expected_options = scheduled(trial.after)
        assert {name: update.options[name] for name in expected_options} == pytest.approx(expected_options, rel=1e-9)
    else:
        alone = key.path == "resume_state_dict_only"
        start = from_the_start(tmp_path / "start", trial.after, checkpoint, weights_alone=alone)
        assert equal(update.networks, next_update(start).networks)


ORDERING = [key for key in KEYS if key.path.startswith(("data_loader.", "loaders", "seed"))]


@pytest.mark.parametrize("key", ORDERING, ids=str)
def test_within_an_epoch_nothing_changes_which_image_comes_when(
    tmp_path: Path, data_sets: DataSets, runs: BegunRuns, key: Key
) -> None:
    """It is refused, or the rest of the epoch has the images that it would have had."""
    case = case_of(key)
    trial = Trial(key, case, data_sets, runs)
    smaller = {"data_loader.args.batch_size": 10}
    before = with_changes(trial.before, smaller)
    after = trial.after if "batch_size" in key.path else with_changes(trial.after, smaller)
    checkpoint = runs.checkpoint_within(before)
    try:
        going_on = small_trainer(tmp_path / "on", after, resume=checkpoint)
    except CheckpointError as told:
        assert "the checkpoint is from within an epoch" in str(told)
    except ConfigError as told:
        assert case.effect == "refused"
        assert case.line in str(told)
    else:
        as_it_is = small_trainer(tmp_path / "as it is", before, resume=checkpoint)
        assert order_of_images(going_on) == order_of_images(as_it_is)


def order_of_images(run: Trainer) -> list[tuple[Any, ...]]:
    """What comes in the epoch under way: sample ids, labels, and the images by their files or pixels."""
    loader = run.loaders["train"]
    assert isinstance(loader, ImageDataLoader)
    ids = loader.epoch_sample_ids(run.state.epoch + 1)
    if loader.images.reads_files:
        images: list[Any] = list(loader.images.files())
    else:
        images = [image.numpy().tobytes() for image in loader.images.read(ids)]
    return [*map(tuple, ids.tolist()), *images, tuple(loader.targets.tolist()), (len(loader),)]


class Row(NamedTuple):
    """A row of the page's table, for one of the keys it names."""

    pattern: str
    owners: tuple[str, ...]
    told: str


@functools.cache
def rows_of_the_page() -> list[Row]:
    lines = (ROOT / "docs/continuing.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return [
        Row(pattern, tuple(filter(None, owners.split(", "))), told)
        for keys, owners, told in cells
        for pattern in re.findall("`([^`]+)`", keys)
    ]


def row_of(key: Key) -> Row:
    """The row that says most exactly what it is about."""
    fitting = [
        row
        for row in rows_of_the_page()
        if fnmatchcase(key.path, row.pattern) and (not row.owners or key.owner in row.owners)
    ]
    assert fitting, f"{key}: has no row in docs/continuing.md"
    return max(fitting, key=lambda row: (bool(row.owners), "*" not in row.pattern, len(row.pattern)))


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_the_page_says_of_each_key_what_it_does(key: Key) -> None:
    assert row_of(key).told.startswith(case_of(key).effect)


def test_the_page_names_no_key_that_there_is_not() -> None:
    unused = [row.pattern for row in rows_of_the_page() if not any(row == row_of(key) for key in KEYS)]
    assert unused == []


@pytest.mark.parametrize("kind", UNFIT_OPTIMIZERS)
def test_optimisers_that_cannot_train_here_have_no_keys_to_change(kind: str) -> None:
    assert kind in OPTIMIZER.choices()
    found = find_problems(with_changes(BEGUN, {"optimizer": {"type": kind, "args": {"lr": 0.1}}}))
    assert [problem.path for problem in found] == ["optimizer.type"]

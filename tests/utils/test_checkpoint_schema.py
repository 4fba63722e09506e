"""Every entry of a checkpoint with something else in it: one line that names the entry, never a traceback."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from base import RunState
from utils.files.checkpoint import CheckpointError, load_checkpoint, read_checkpoint, save_checkpoint
from utils.files.checkpoint_schema import PROGRESS, require_training_state
from utils.files.state_differences import kind_differences, type_difference
from utils.reporting.meters import RunningMeans


def content_of_a_run() -> dict[str, Any]:
    """What a run with one linear layer saves after two steps."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    meters = RunningMeans()
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()
        schedule.step()
        meters.add({"loss": torch.tensor(0.5)}, 4)
    state = RunState(epoch=1, step=2, best=0.5, best_epoch=1, history=[{"epoch": 1.0, "loss": 0.5, "val": math.nan}])
    return {
        "arch": "Linear",
        "config": {"name": "small"},
        "class_names": ["a", "b"],
        "class_counts": [3, 1],
        "split_digests": {"train": "00ff"},
        "epoch": 1,
        "monitor_best": 0.5,
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "criterion": OrderedDict(log_prior=torch.zeros(2)),
        "meters": meters.state_dict(),
        "precision": {},
        "progress": state.state_dict(),
    }


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    content = copy.deepcopy(content_of_a_run())
    *parents, last = place
    holder: Any = content
    for key in parents:
        holder = holder[key]
    if value is REMOVED:
        del holder[last]
    else:
        holder[last] = value
    return content


def continues_from(path: Path) -> None:
    require_training_state(load_checkpoint(path), path)


REMOVED = object()


def test_what_a_run_saves_is_right(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pth", content_of_a_run())
    continues_from(tmp_path / "c.pth")
    assert {field.name for field in dataclasses.fields(RunState)} == set(PROGRESS)
    save_checkpoint(tmp_path / "new.pth", content_of_a_run() | {"progress": RunState().state_dict()})
    continues_from(tmp_path / "new.pth")


def test_parts_of_other_names_are_passed(tmp_path: Path) -> None:
    more = {"averaged_state_dict": {"module.x": torch.ones(1), "n": 3}, "queue": [torch.ones(2), None, ("a", 1.5)]}
    save_checkpoint(tmp_path / "c.pth", content_of_a_run() | more)
    continues_from(tmp_path / "c.pth")


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]] = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 3),
    "milestones": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4]),
    "plateau": lr_scheduler.ReduceLROnPlateau,
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=9),
    "restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3),
    "one after the other": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer), lr_scheduler.CosineAnnealingLR(optimizer, 5)], [2]
    ),
    "together": lambda optimizer: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    ),
    "a function": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_every_schedule_and_optimiser_of_torch_is_admitted(tmp_path: Path, name: str, kind: Any) -> None:
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1))
    optimizer = kind([{"params": [first]}, {"params": [second], "lr": 0.01}], lr=0.1)
    schedule = SCHEDULES[name](optimizer)
    (first.sum() + second.sum()).backward()
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "lr_scheduler": schedule.state_dict()}
    save_checkpoint(tmp_path / "c.pth", content_of_a_run() | state)
    continues_from(tmp_path / "c.pth")
    loaded = load_checkpoint(tmp_path / "c.pth")
    assert type_difference(schedule.state_dict(), loaded["lr_scheduler"]) == ""
    assert type_difference(optimizer.state_dict(), loaded["optimizer"]) == ""


OTHERS: dict[str, Any] = {
    "None": None,
    "text": "text",
    "nan": math.nan,
    "-1": -1,
    "2**70": 2**70,
    "[]": [],
    "[None]": [None],
    "{}": {},
    "{1: 2}": {1: 2},
    "{x: []}": {"x": []},
    "tensor": torch.ones(2),
    "True": True,
}
LEGAL: dict[str, set[str]] = {
    "state_dict": {"{}"},  # the network says which names are missing
    "state_dict.weight": {"tensor"},
    "averaged_state_dict": {"{}", "{1: 2}", "{x: []}"},  # another's optimizer_state_dict is no network
    "arch": {"text"},
    "config": {"{}", "{x: []}"},
    "class_names": set(),  # there are two counts
    "class_counts": {"[]"},
    "split_digests": {"{}"},
    "epoch": set(),
    "optimizer": set(),
    "lr_scheduler": {"{}", "{x: []}"},
    "criterion": {"{}"},
    "meters": set(),
    "progress": set(),
    "format_version": set(),
    **{f"progress.{name}": set() for name in PROGRESS},
    "progress.best": {"None", "-1"},
    "progress.history": {"[]"},
    "progress.history.0": {"{}"},
    "progress.history.0.loss": {"nan", "-1"},
    "optimizer.state": {"{}"},
    "optimizer.state.0": {"{}", "{1: 2}", "{x: []}"},
    "optimizer.param_groups": set(),
    "optimizer.param_groups.0": set(),
    "optimizer.param_groups.0.params": {"[]"},
    "optimizer.param_groups.0.lr": set(),
    "lr_scheduler.last_epoch": {"-1"},
    "lr_scheduler.base_lrs": {"[]"},
    "criterion.log_prior": {"tensor"},
    "meters.sums": {"{}"},
    "meters.sums.loss": set(),
    "meters.weight": set(),
}


@pytest.mark.parametrize("place", LEGAL)
def test_other_types_in_any_entry_are_one_line_that_names_it(tmp_path: Path, place: str) -> None:
    path = tmp_path / "c.pth"
    keys = tuple(int(key) if key.isdigit() else key for key in place.split("."))
    for name, value in OTHERS.items():
        save_checkpoint(path, changed(keys, value))
        if name in LEGAL[place]:
            continues_from(path)
            continue
        with pytest.raises(CheckpointError) as caught:
            continues_from(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{path}: "), name
        assert str(keys[0]) in str(caught.value), name


@pytest.mark.parametrize("place", [("progress",), ("optimizer",), *(("progress", name) for name in PROGRESS)])
def test_what_is_missing_is_named(tmp_path: Path, place: tuple[str, ...]) -> None:
    save_checkpoint(tmp_path / "c.pth", changed(place, REMOVED))
    with pytest.raises(CheckpointError, match=place[-1]):
        continues_from(tmp_path / "c.pth")


def bad_weights() -> dict[str, tuple[Any, str]]:
    return {
        "sparse": (torch.eye(2).to_sparse(), "a sparse_coo tensor of float32"),
        "complex": (torch.ones(2, dtype=torch.complex64), "a tensor of complex64"),
        "expanded": (torch.ones(1).expand(1000, 1000), "a place of its own"),
        "empty device": (torch.ones(2, device="meta"), "a tensor of float32"),
        "float8": (torch.ones(2).to(torch.float8_e5m2), "a tensor of float8_e5m2"),
        "list": ([1.0, 2.0], "a list"),
    }


@pytest.mark.parametrize("kind", list(bad_weights()))
def test_weights_are_dense_tensors_of_real_numbers(tmp_path: Path, kind: str) -> None:
    value, told = bad_weights()[kind]
    for name in ("state_dict", "criterion"):
        save_checkpoint(tmp_path / "c.pth", content_of_a_run() | {name: {"x": value}})
        with pytest.raises(CheckpointError, match=rf"'{name}': 'x' is .*{told}"):
            continues_from(tmp_path / "c.pth")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_run_does_not_go_on_from_weights_that_are_no_numbers(tmp_path: Path, number: float) -> None:
    path = tmp_path / "c.pth"
    for place in (("state_dict", "weight"), ("optimizer", "state", 0, "momentum_buffer")):
        save_checkpoint(path, changed(place, torch.tensor([[1.0, number]])))
        load_checkpoint(path)  # may still be looked at
        with pytest.raises(CheckpointError, match=f"{place[-1]}.*not finite"):
            continues_from(path)


@pytest.mark.parametrize("version", [2, 1000])
def test_a_later_format_is_told(tmp_path: Path, version: int) -> None:
    save_checkpoint(tmp_path / "c.pth", content_of_a_run() | {"format_version": version})
    with pytest.raises(
        CheckpointError, match=f"later version of this project: 'format_version' {version}; up to 1 can be read"
    ):
        load_checkpoint(tmp_path / "c.pth")


def test_containers_without_an_end_are_refused(tmp_path: Path) -> None:
    itself: list[Any] = []
    itself.append(itself)
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    laughs: Any = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    for value in (itself, deep, laughs):
        save_checkpoint(tmp_path / "c.pth", {"state_dict": {}, "config": {"x": value}})
        with pytest.raises(CheckpointError, match="each other"):
            load_checkpoint(tmp_path / "c.pth")


def test_depth_is_counted_through_shared_containers(tmp_path: Path) -> None:
    """Each chain is short, but ends in the one before it."""
    chain: Any = []
    chains = []
    for _ in range(5):
        for _ in range(60):
            chain = [chain]
        chains.append(chain)
    save_checkpoint(tmp_path / "c.pth", {"state_dict": {}, "chains": chains})
    with pytest.raises(CheckpointError, match="each other"):
        load_checkpoint(tmp_path / "c.pth")


def test_what_the_restricted_reader_admits_but_is_no_plain_data_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "x": torch.FloatStorage}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="no plain data"):
        load_checkpoint(tmp_path / "c.pth")


def test_the_digest_is_of_the_bytes_that_were_read(tmp_path: Path) -> None:
    for form in (True, False):
        torch.save({"state_dict": {}}, tmp_path / "c.pth", _use_new_zipfile_serialization=form)
        digest = hashlib.sha256((tmp_path / "c.pth").read_bytes()).hexdigest()
        assert read_checkpoint(tmp_path / "c.pth").digest == digest
    save_checkpoint(tmp_path / "c.pth", content_of_a_run())
    read = read_checkpoint(tmp_path / "c.pth")
    assert read.digest == hashlib.sha256((tmp_path / "c.pth").read_bytes()).hexdigest()
    assert read.content["epoch"] == 1


def test_kinds_of_numbers_are_compared() -> None:
    own = {"w": torch.ones(2), "n": torch.tensor(1), "x": torch.ones(1)}
    given: Mapping[str, Any] = {"w": torch.ones(2, dtype=torch.int8), "n": torch.tensor(1), "x": torch.ones(1).half()}
    assert kind_differences(own, given) == ["w a tensor of int8 instead of a tensor of float32"]


@pytest.mark.parametrize(
    ("own", "given", "told"),
    [
        ({"T_max": 3}, {"T_max": "3"}, "it['T_max'] is '3' instead of 3"),
        ({"a": [1.0]}, {"a": [2, None, "x"]}, "it['a'][2] is 'x' instead of 1.0"),
        ({"a": {"b": {}}}, {"a": {"b": []}}, "it['a']['b'] is a list instead of a dict"),
        ({"a": torch.ones(2)}, {"a": 1}, "it['a'] is 1 instead of a tensor of float32"),
        ({"a": None, "b": 1}, {"a": "x", "b": torch.tensor(2.0), "c": []}, ""),
    ],
)
def test_a_state_is_compared_with_the_one_it_replaces(own: Any, given: Any, told: str) -> None:
    assert type_difference(own, given) == told

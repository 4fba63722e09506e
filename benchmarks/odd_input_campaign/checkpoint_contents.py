"""Checkpoints whose archive is sound and whose content is not what it is called; and legal ones of other makes."""

from __future__ import annotations

import random
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.odd_input_campaign.checkpoint_bytes import Attack

Content = dict[str, Any]
READERS = ("test", "train", "convert", "initialise")


def _sparse(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1)[:1].to_sparse()


_NO_WEIGHTS: list[Any] = [
    None,
    [],
    5,
    "x",
    True,
    {"a": 1},
    {1: torch.zeros(1)},
    {"a": {"b": torch.zeros(1)}},
    {},
    1.5,
    b"x",
]
_NO_DICT: list[Any] = [None, [], 5, "x", [{}], True, torch.zeros(3), float("nan"), (1, 2)]
_WRONG_ENTRIES: dict[str, list[Any]] = {
    "format_version": [2, 0, -1, "1", 1.5, None, True, 2**70, [1], torch.tensor(1), float("nan")],
    "config": [None, [], "x", 5, {1: 2}, ["name"], torch.zeros(1)],
    "arch": [5, None, [], {}, torch.zeros(1)],
    "epoch": [-1, "1", 1.5, [], {}, 2**70, True, float("nan")],
    "monitor_best": ["x", [], {}, (1,)],
}
"""Entries that every reader looks at."""
_WRONG_FOR_TRAINING: dict[str, list[Any]] = {
    "progress": [*_NO_DICT, {}, {"epoch": 1}],
    "optimizer": [*_NO_DICT, {}, {"state": {}}, {"state": {}, "param_groups": []}, {"state": [], "param_groups": [{}]}],
    "lr_scheduler": [*_NO_DICT, {"last_epoch": "1"}, {"step": 1}, {"optimizer": {}}],
    "meters": [*_NO_DICT, {}, {"sums": {"loss": "x"}, "weight": 1}, {"sums": {}, "weight": -1}],
    "precision": [[], 5, "x", {"scale": "x"}, {"scale": float("nan")}, {1: 2}],
}
_WRONG_FIELDS: dict[str, list[Any]] = {
    "progress.epoch": [-1, "1", None, 1.5, [], 2**70, float("nan"), True],
    "progress.step": [-1, "x", None, 0.5],
    "progress.best_epoch": [-1, "x", 1.5],
    "progress.best": ["x", float("nan"), [], {}],
    "progress.history": [None, {}, "x", [1], [{"loss": "x"}], [{1: 2.0}], [[]]],
    "progress.skipped_steps": [-1, None],
    "progress.accumulate_steps": [-1, "x"],
    "progress.no_such_field": [1],
    "optimizer.state": [None, [], "x", {"a": {}}, {0: 5}, {0: {"momentum_buffer": "x"}}, {-1: {}}],
    "optimizer.param_groups": [None, [], {}, "x", [1], [{}], [{"params": "x", "lr": 1}], [{"params": [0, 0], "lr": 1}]],
}


def _put(content: Content, path: str, value: Any) -> None:
    first, _, rest = path.partition(".")
    if rest:
        content[first] = {**content[first], rest: value}
    else:
        content[first] = value


def wrong_entry(content: Content, random_: random.Random) -> tuple[str, tuple[str, ...]]:
    """An entry is of another type; which readers must refuse it."""
    kind = random_.choice(["weights", "entry", "entry", "training", "training", "field", "field"])
    if kind == "weights":
        path, value, readers = "state_dict", random_.choice(_NO_WEIGHTS), READERS
    else:
        table = {"entry": _WRONG_ENTRIES, "training": _WRONG_FOR_TRAINING, "field": _WRONG_FIELDS}[kind]
        path = random_.choice(sorted(table))
        value = random_.choice(table[path])
        readers = READERS if kind == "entry" else ("train",)
    _put(content, path, value)
    return f"{path} = {value!r:.60}", readers


_GROUP = {"lr": 0.05, "momentum": 0.9, "dampening": 0, "weight_decay": 0, "nesterov": True}
_ODD_FIELDS: dict[str, list[Any]] = {
    "progress.epoch": [2, 3, 10**9, 2**62],
    "progress.step": [1, 10**6, 10**18],
    "progress.best_epoch": [10**9],
    "progress.best": [float("inf"), -1e300],
    "progress.history": [[], [{}], [{"epoch": 1e9}], [{"loss": float("nan")}], [{"epoch": 1, "loss": 1.0}] * 1000],
    "progress.skipped_steps": [10**9],
    "progress.accumulate_steps": [0, 10**9, 2**62],
    "lr_scheduler.last_epoch": [0, 10**12, 0.5],
    "lr_scheduler._last_lr": [[], [1e300], [float("nan")], [0.1, 0.2]],
    "lr_scheduler.no_such_thing": [1, [], {"a": torch.zeros(1)}],
    "meters.weight": [0, 1, 10**18],
    "meters.sums": [{}, {"loss": torch.tensor(float("nan"))}, {"other": torch.tensor(1.0)}],
    "optimizer.state": [
        {},
        {10**9: {}},
        {0: {}},
        {0: {"momentum_buffer": torch.zeros(3)}},
        {0: {"momentum_buffer": None}},
    ],
    "optimizer.param_groups": [
        [{**_GROUP, "params": []}],
        [{**_GROUP, "params": [0]}],
        [{**_GROUP, "params": [10**9]}],
        [{"params": [0], "lr": 0.1}],
        [{**_GROUP, "params": [0], "lr": 1e300, "momentum": "x"}],
        [{**_GROUP, "params": [0]}, {**_GROUP, "params": [1]}],
    ],
    "class_names": [[], ["a"], ["a"] * 10, [str(label) for label in range(9, -1, -1)], ["\udcff"] * 10],
    "class_counts": [[], [1], [0] * 10, [10**18] * 10, "x", None, [-1] * 10],
    "averaged_state_dict": [{}, None, {"a": torch.zeros(1)}],
    "criterion": [{}, {"bsce_weight": torch.zeros(1)}, {"bsce_weight": torch.full((10,), float("nan"))}],
}


def odd_entry(content: Content, random_: random.Random) -> str:
    """An entry of the right type that no run would have written: taken or refused, in a line."""
    path = random_.choice(sorted(_ODD_FIELDS))
    value = random_.choice(_ODD_FIELDS[path])
    _put(content, path, value)
    return f"{path} = {value!r:.60}"


def _one_weight(content: Content, random_: random.Random, change: Callable[[Tensor], Any]) -> str:
    state: dict[str, Any] = content["state_dict"]
    names = [name for name, value in state.items() if value.is_floating_point() and value.ndim]
    name = random_.choice(names)
    state[name] = change(state[name])
    return name


_WEIGHT_CHANGES: dict[str, Callable[[Tensor], Any]] = {
    "None": lambda tensor: None,
    "a list": lambda tensor: tensor.reshape(-1)[:3].tolist(),
    "a text": lambda tensor: "x",
    "sparse": _sparse,
    "int8": lambda tensor: tensor.to(torch.int8),
    "bool": lambda tensor: tensor > 0,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor.contiguous(), 0.1, 0, torch.qint8),
    "one number in a huge shape": lambda tensor: torch.zeros(1).expand(10**6, 10**6),
    "one number in its shape": lambda tensor: torch.zeros(1).expand(tensor.shape),
    "of no device": lambda tensor: tensor.to("meta"),
    "nested": lambda tensor: torch.nested.nested_tensor([tensor, tensor]),
    "one number": lambda tensor: torch.tensor(1.0),
    "one row more": lambda tensor: torch.cat([tensor, tensor[:1]]),
    "another shape": lambda tensor: tensor.reshape(1, -1),
    "empty": lambda tensor: tensor[:0],
}


def wrong_weights(content: Content, random_: random.Random) -> tuple[str, tuple[str, ...]]:
    """Weights are missing, renamed, of another type, shape, or no numbers; who must refuse them."""
    state: dict[str, Any] = content["state_dict"]
    kind = random_.choice(["change", "change", "change", "missing", "renamed", "more", "nan", "infinite", "names"])
    if kind == "change":
        what, change = random_.choice(sorted(_WEIGHT_CHANGES.items()))
        return f"{_one_weight(content, random_, change)} is {what}", READERS
    if kind in ("nan", "infinite"):
        value = float("nan" if kind == "nan" else "inf")
        for name in [name for name in state if name.endswith("weight")]:
            state[name] = torch.full_like(state[name], value)
        return f"all weights are {value}", ("test", "train")
    name = random_.choice([name for name in state if "linear" in name or "conv" in name])
    if kind == "names":
        content["state_dict"] = {name.upper(): value for name, value in state.items()}
        return "all names in capitals", READERS
    if kind == "more":
        state["backbone.no_such_weight"] = torch.zeros(3)
        return "a weight too many", ("test", "train", "convert")
    tensor = state.pop(name)
    if kind == "renamed":
        state[f"{name}x"] = tensor
    return f"{name} is {kind}", READERS


def missing_entry(content: Content, random_: random.Random) -> tuple[str, tuple[str, ...]]:
    """An entry is missing; who must refuse that."""
    name = random_.choice(["state_dict", "progress", "optimizer", "everything"])
    if name == "everything":
        content.clear()
    content.pop(name, None)
    return f"without {name}", READERS if name in ("state_dict", "everything") else ("train",)


def strange_values(content: Content, random_: random.Random) -> tuple[str, tuple[str, ...]]:
    """Something that is no plain data, or has no end."""
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    wide: Any = [1] * 10
    for _ in range(12):
        wide = [wide] * 10
    values = {"a circle": circle, "150 deep": deep, "10^13 items": wide, "something that acts": Attack()}
    what = random_.choice(sorted(values))
    name = random_.choice(["notes", "extra"])
    content[name] = values[what]
    return f"{name}: {what}", READERS


def _published(content: Content) -> Content:
    """The entries of a published checkpoint, without a pickled object."""
    return {
        "arch": "ResNet32Model",
        "epoch": 1,
        "state_dict": content["state_dict"],
        "optimizer": content["optimizer"],
        "monitor_best": 0.5,
        "config": content["config"],
    }


def _parallel(content: Content) -> Content:
    return {**content, "state_dict": {f"module.{name}": value for name, value in content["state_dict"].items()}}


def _object_of_published_code(content: Content) -> Content:
    """The configuration as the object that published checkpoints hold."""
    module = types.ModuleType("parse_config")
    parser = type("ConfigParser", (), {"__module__": "parse_config"})
    module.ConfigParser = parser  # type: ignore[attr-defined]
    sys.modules["parse_config"] = module
    held = parser()
    held.__dict__ |= {"_config": content["config"], "resume": None}
    return {**_published(content), "config": held}


def _as_parameters(content: Content) -> Content:
    state = content["state_dict"]
    grown = {name: torch.nn.Parameter(value) if value.is_floating_point() else value for name, value in state.items()}
    return {**content, "state_dict": grown}


def _ordered(content: Content) -> Content:
    return {**content, "state_dict": OrderedDict(content["state_dict"])}


_LEGAL: dict[str, tuple[Callable[[Content], Any], tuple[str, ...]]] = {
    "saved again by torch.save": (lambda content: content, READERS),
    "names with module.": (_parallel, READERS),
    "the published entries": (_published, ("test", "convert", "initialise")),
    "the published entries, names with module.": (
        lambda content: _parallel(_published(content)),
        ("test", "convert", "initialise"),
    ),
    "weights and configuration": (
        lambda content: {"state_dict": content["state_dict"], "config": content["config"]},
        ("test", "convert", "initialise"),
    ),
    "weights alone": (lambda content: {"state_dict": content["state_dict"]}, ("test", "convert", "initialise")),
    "a bare state dict": (lambda content: dict(content["state_dict"]), ("initialise",)),
    "a bare state dict with module.": (lambda content: _parallel(content)["state_dict"], ("initialise",)),
    "the configuration as an object": (_object_of_published_code, ("convert",)),
    "further entries": (
        lambda content: {**content, "notes": "x", "more": {"a": [1, None, 2.5, torch.zeros(2)]}},
        READERS,
    ),
    "without a version": (
        lambda content: {name: value for name, value in content.items() if name != "format_version"},
        READERS,
    ),
    "without a configuration": (
        lambda content: {name: value for name, value in content.items() if name != "config"},
        READERS,
    ),
    "float64 weights": (
        lambda content: {
            **content,
            "state_dict": {
                name: value.double() if value.is_floating_point() else value
                for name, value in content["state_dict"].items()
            },
        },
        ("test",),
    ),
    "parameters for weights": (_as_parameters, ("test", "train", "convert")),
    "an ordered dict": (_ordered, READERS),
    "entries in another order": (lambda content: dict(reversed(content.items())), READERS),
}


def legal_content(content: Content, random_: random.Random) -> tuple[str, Any, tuple[str, ...]]:
    """A checkpoint of another make: what it is, its content, and who must take it."""
    what, (change, readers) = random_.choice(sorted(_LEGAL.items()))
    return what, change(content), readers

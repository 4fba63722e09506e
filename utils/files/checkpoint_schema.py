"""What a checkpoint holds: checked once after reading, so that nothing that reads on needs to doubt it.

`check_structure` judges what every reader relies on, `require_training_state` what a run is continued from besides.
A checkpoint's parts are open-ended: parts of other names are passed over, as long as they are tensors and plain data.
"""

from __future__ import annotations

import math
import reprlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from utils.errors import CheckpointError

FORMAT_VERSION = 1
NETWORK = "_state_dict"
"""How the names of further networks end: "averaged_state_dict", say."""

_LARGEST = 2**63
_DEEPEST = 100  # containers within each other
_MOST_ITEMS = 10_000_000  # shared containers counted as often as they are met
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLE_OR_BOOL = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
_MAPPINGS = (dict, OrderedDict, Counter)
_SEQUENCES = (list, tuple, set, torch.Size)
_LEAVES = (int, float, str, bool, type(None), bytes, bytearray, complex, torch.dtype, torch.device)


class _Problem(Exception):
    """What is wrong, without the path."""


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_number(value: Any, *, least: float | None = None) -> bool:
    """Whether it is a number; with `least`, a finite one from there."""
    if type(value) is not float and not (type(value) is int and abs(value) < _LARGEST):
        return False
    return least is None or least <= value < math.inf


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _is_history(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and all(isinstance(name, str) and _is_number(item) for name, item in entry.items())
        for entry in value
    )


PROGRESS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epoch": (_is_whole, "a whole number from 0"),
    "step": (_is_whole, "a whole number from 0"),
    "best_epoch": (_is_whole, "a whole number from 0"),
    "skipped_steps": (_is_whole, "a whole number from 0"),
    "accumulate_steps": (_is_whole, "a whole number from 0"),
    "best": (lambda value: value is None or (_is_number(value) and not math.isnan(value)), "a number or None"),
    "history": (_is_history, "a list of dicts of numbers"),
}
"""Fields of `base.RunState`, each with its test and what it should be."""


def check_structure(content: Any, path: Path, *, records: tuple[type, ...] = ()) -> None:
    """Check what every reader of a checkpoint relies on.

    Args:
        content: what the file held.
        path: of the file.
        records: types that it may hold besides plain data; what is in them is not looked at.

    Raises:
        CheckpointError: it is of a later format, or something in it is not what it is called.
    """
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path}: no checkpoint: it holds no 'state_dict'")
    _told(_check_structure, content, path, records)


def require_training_state(content: Mapping[str, Any], path: Path) -> None:
    """Check what a run is continued from: finite weights, where it stands, and the parts whose form is known here.

    Args:
        content: of a checkpoint, as `load_checkpoint` returns it.
        path: of its file.

    Raises:
        CheckpointError: a part is missing, or is not what it is called.
    """
    for name in ("progress", "optimizer"):
        if name not in content:
            raise CheckpointError(
                f"{path}: holds no '{name}', so the run can't be continued exactly; "
                "set resume_state_dict_only=true to start a new run from its weights"
            )
    _told(_check_training_state, content, path)


def _told(check: Callable[..., None], content: Mapping[str, Any], path: Path, *arguments: Any) -> None:
    try:
        check(content, *arguments)
    except _Problem as problem:
        raise CheckpointError(f"{path}: {problem}") from None


def _check_structure(content: Mapping[str, Any], records: tuple[type, ...]) -> None:
    version = content.get("format_version", FORMAT_VERSION)
    _expect(_is_whole(version) and version > 0, "'format_version'", version, "a number from 1")
    if version > FORMAT_VERSION:
        told = f"'format_version' {version}; up to {FORMAT_VERSION} can be read"
        raise _Problem(f"written by a later version of this project: {told}")
    _check_plain(content, records, {})
    for name in content:
        _expect(isinstance(name, str), f"the name {shortened(name)}", name, "text")
    _check_tensors(content["state_dict"], "'state_dict'")
    if "format_version" not in content:
        return  # another's: what else it holds need not be what ours do
    published: dict[str, tuple[Callable[[Any], bool], str]] = {
        "arch": (lambda value: isinstance(value, str), "text"),
        "epoch": (_is_whole, "a whole number"),
        "monitor_best": (lambda value: value is None or _is_number(value), "a number or None"),
        "config": (lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value), "a dict"),
        "class_counts": (lambda value: isinstance(value, list) and all(_is_whole(n) for n in value), "whole numbers"),
        "split_digests": (_are_texts, "a dict of texts"),
        "class_names": (lambda value: isinstance(value, list) and all(isinstance(n, str) for n in value), "texts"),
    }
    _check_further_networks(content)
    for name, (is_right, wanted) in published.items():
        if name in content:
            _expect(is_right(content[name]), f"'{name}'", content[name], wanted)
    counted, named = (len(content.get(name) or ()) for name in ("class_counts", "class_names"))
    if counted and counted != named:
        raise _Problem(f"'class_counts' has {counted} numbers for {named} 'class_names'")


def _check_plain(
    value: Any, records: tuple[type, ...], known: dict[int, tuple[int, int]], depth: int = 0
) -> tuple[int, int]:
    """Refuse what is no plain data, too deep or too large; returns the items in a value and how deep they lie.

    What is in a shared container counts as often as it is met, so that whoever walks through all of it comes to an
    end. `known` are the containers that have been looked at, by identity.
    """
    if type(value) in _LEAVES or isinstance(value, (Tensor, *records)):
        return 1, 0
    if type(value) not in (*_MAPPINGS, *_SEQUENCES):
        raise _Problem(f"holds something {described(value)}, which is no plain data")
    if depth > _DEEPEST:
        raise _Problem("holds containers within themselves, or too deep within each other")
    if id(value) not in known:
        items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        within = [_check_plain(item, records, known, depth + 1) for item in items]
        size, height = 1 + sum(one for one, _ in within), 1 + max((one for _, one in within), default=0)
        if size > _MOST_ITEMS or height > _DEEPEST:
            raise _Problem(f"holds more than {_MOST_ITEMS} items, or more than {_DEEPEST} deep within each other")
        known[id(value)] = size, height
    return known[id(value)]


def _check_further_networks(content: Mapping[str, Any], *, finite: bool = False) -> None:
    """Averaged weights, say; what else is called so (others keep an optimizer_state_dict) need not be tensors alone."""
    for name in (name for name in content if name.endswith(NETWORK)):
        for key, value in _dict(content[name], f"'{name}'").items():
            if isinstance(value, Tensor):
                _check_tensor(value, f"'{name}': {shortened(key)}", finite=finite)


def _check_training_state(content: Mapping[str, Any]) -> None:
    _check_tensors(content["state_dict"], "'state_dict'", finite=True)
    _check_further_networks(content, finite=True)
    checks: dict[str, Callable[[Any], object]] = {
        "progress": _check_progress,
        "optimizer": _check_optimizer,
        "lr_scheduler": _check_schedule,
        "criterion": lambda state: _check_tensors(state, "'criterion'"),
        "meters": _check_meters,
        "precision": _check_precision,
    }
    for name, check in checks.items():
        if name in content:
            check(_dict(content[name], f"'{name}'"))


def _check_progress(state: Mapping[Any, Any]) -> None:
    names = ", ".join(sorted(map(shortened, state)))
    if state.keys() != PROGRESS.keys():
        raise _Problem(f"'progress' has the fields {names} instead of {', '.join(sorted(map(repr, PROGRESS)))}")
    for name, (is_right, wanted) in PROGRESS.items():
        _expect(is_right(state[name]), f"'progress.{name}'", state[name], wanted)


def _check_optimizer(state: Mapping[Any, Any]) -> None:
    for number, values in _dict(state.get("state"), "'optimizer.state'").items():
        place = f"optimizer.state[{shortened(number)}]"
        _expect(_is_whole(number), f"the key of '{place}'", number, "a parameter's number")
        for name, value in _dict(values, f"'{place}'").items():
            if isinstance(value, Tensor):
                _check_tensor(value, f"'{place}[{shortened(name)}]'", finite=True)
    groups = _dicts(state.get("param_groups"), "'optimizer.param_groups'")
    _expect(bool(groups), "'optimizer.param_groups'", groups, "a list of dicts")
    for index, group in enumerate(groups):
        place, numbers, rate = f"optimizer.param_groups[{index}]", group.get("params"), group.get("lr")
        is_right = isinstance(numbers, list) and all(map(_is_whole, numbers)) and len(set(numbers)) == len(numbers)
        _expect(is_right, f"'{place}.params'", numbers, "a list of different whole numbers")
        rate = rate.item() if isinstance(rate, Tensor) and rate.numel() == 1 else rate
        _expect(_is_number(rate, least=0), f"'{place}.lr'", rate, "a number from 0")


def _check_schedule(state: Mapping[Any, Any], place: str = "lr_scheduler") -> None:
    for name, value in state.items():
        inner = f"'{place}.{name}'"
        if not isinstance(name, str) or callable(getattr(LRScheduler, name, None)) or name == "optimizer":
            raise _Problem(f"'{place}' holds {shortened(name)}, which is no state of a schedule")
        if name in ("last_epoch", "_step_count"):
            _expect(_is_number(value, least=-1), inner, value, "a number from -1")
        elif name in ("base_lrs", "_last_lr"):
            _expect(isinstance(value, list) and all(map(_is_number, value)), inner, value, "a list of numbers")
        elif name == "_schedulers":
            for index, one in enumerate(_dicts(value, inner)):
                _check_schedule(one, f"{place}._schedulers[{index}]")


def _check_meters(state: Mapping[Any, Any]) -> None:
    sums, weight = state.get("sums"), state.get("weight")
    for name, value in _check_tensors(sums, "'meters.sums'").items():
        _expect(value.ndim == 0, f"'meters.sums[{shortened(name)}]'", value, "one number")
    is_right = _is_whole(weight) and (weight != 0 or not sums)
    _expect(is_right, "'meters.weight'", weight, "the number of images counted")


def _check_precision(state: Mapping[Any, Any]) -> None:
    for name, value in state.items():
        _expect(isinstance(name, str), "a name in 'precision'", name, "text")
        _expect(_is_number(value, least=0), f"'precision.{name}'", value, "a number from 0")


def _check_tensors(state: Any, place: str, *, finite: bool = False) -> dict[str, Tensor]:
    for name, value in _dict(state, place, "a dict of tensors").items():
        _expect(isinstance(name, str), f"the name {shortened(name)} in {place}", name, "text")
        _check_tensor(value, f"{place}: {shortened(name)}", finite=finite)
    return state


def _check_tensor(value: Any, place: str, *, finite: bool) -> None:
    wanted = "a dense tensor of real numbers, each with a place of its own"
    is_dense = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested
    _expect(is_dense and value.device.type == "cpu", place, value, wanted)
    _expect(value.dtype in (*_FLOATS, *_WHOLE_OR_BOOL), place, value, wanted)
    _expect(value.numel() * value.element_size() <= value.untyped_storage().nbytes(), place, value, wanted)
    if finite and value.dtype in _FLOATS and not bool(torch.isfinite(value).all()):
        raise _Problem(f"{place} holds numbers that are not finite: the training diverged")


def _dict(value: Any, place: str, wanted: str = "a dict") -> dict[Any, Any]:
    _expect(isinstance(value, dict), place, value, wanted)
    return value


def _dicts(value: Any, place: str) -> list[dict[Any, Any]]:
    is_right = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    _expect(is_right, place, value, "a list of dicts")
    return value


def _expect(is_right: bool, place: str, value: Any, wanted: str) -> None:
    if not is_right:
        raise _Problem(f"{place} is {described(value)} instead of {wanted}")


def described(value: Any) -> str:
    """What a value is, in a few words: its kind, or itself where it is short."""
    if isinstance(value, Tensor):
        layout = "" if value.layout == torch.strided else f" {str(value.layout).removeprefix('torch.')}"
        return f"a{layout} tensor of {str(value.dtype).removeprefix('torch.')}"
    return shortened(value) if type(value) in _LEAVES else f"a {type(value).__name__}"


def shortened(value: Any) -> str:
    """A value on one line, cut where it is long."""
    if type(value) in (int, str, float, bool, bytes, type(None)):
        return reprlib.repr(value) if not isinstance(value, int) or abs(value) < _LARGEST else "a number of many digits"
    return f"a {type(value).__name__}"

"""Which keys can't be changed on `-r`, because no meaning can be given to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from utils.config.differences import Difference

_BEGINS_FROM = {"Rprop": ("lr",), "Adagrad": ("initial_accumulator_value",), "ASGD": ("lr", "alpha")}
"""Optimisers' arguments that make a state which the next update goes by, whatever they are by then."""

_SAME_ORDER = (
    *("num_workers", "worker_timeout", "verify", "on_bad_image"),
    *("randaugm", "trivialaugm", "cutout", "color_jitter", "image_size", "mean", "std"),
    *("value_range", "apply_exif", "reduced_decoding", "cache", "cache_side", "cache_format"),
    *("test_txt", "val_txt", "eval_txt", "test_imb_factor", "reverse"),
)
"""Arguments of data loaders that leave it as it is which training image comes when."""


def reason_against(  # noqa: PLR0911 - one return a kind of change
    change: Difference, content: Mapping[str, Any], *, method_state: Collection[str]
) -> str:
    """Why a run can't go on from a checkpoint with a change; empty where it can.

    Args:
        change: a key, its value in the checkpoint's configuration and in the new one.
        content: the checkpoint's.
        method_state: names of what the new method keeps in checkpoints beside network and loss.
    """
    section, _, name = change.path.rpartition(".")
    optimizer = content["config"]["optimizer"]["type"]
    if change.path == "optimizer.type":
        return "another optimiser can't go on from the moments of this one"
    if change.path == "trainable":
        return "the optimiser's moments are those of other parameters"
    if change.path.partition(".")[0] == "initialise" and change.new is not None:
        return "it would have no effect: the checkpoint's weights are taken"
    if change.path == "method.type" and method_state:
        return f"{change.new} can't go on from what {change.old} keeps"
    if section == "optimizer.args" and name in _BEGINS_FROM.get(optimizer, ()):
        return f"{optimizer} goes on from what it has made of the old value"
    if content["progress"]["step"] and _orders_an_epoch(change.path, name):
        return "the checkpoint is from within an epoch, whose steps would be others: take one of an epoch's end"
    return ""


def _orders_an_epoch(path: str, name: str) -> bool:
    """Whether a key says which training image comes when."""
    return path == "seed" or (path.startswith(("data_loader.", "loaders.")) and name not in _SAME_ORDER)

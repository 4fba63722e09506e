"""A checkpoint taken up by a run of another configuration.

What stems from the configuration (rates, decay, the schedule's shape, the loss's τ and class counts) is the new one's;
what training has learnt (weights, momenta, averages, loss scale, meters, history, the schedule's position) goes on.
`docs/continuing.md` has a table.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from base import CheckpointParts, Monitor, RunState
from trainer.config.run_config import RunConfig
from trainer.engine.rate_schedule import RateSchedule
from utils.config.differences import Difference, differences
from utils.config.parser import ConfigParser
from utils.errors import CheckpointError, reason_of
from utils.files.checkpoint_schema import require_training_state

WHERE_NOT_WHAT = ("n_gpu", "trainer.parallel", "data_loader.args.num_workers")
"""Keys with which a run may be continued in its own folder on another machine."""

_WEIGHTS_ALONE = "set resume_state_dict_only=true to start a new run from its weights"
_ONLY_AT_FIRST = {"Rprop": ("lr",), "Adagrad": ("initial_accumulator_value",), "ASGD": ("lr",)}
"""Optimisers' arguments that make their first state, which is then adapted: changed later, they would do nothing."""
_ORDER_OF_EPOCH = (
    *("batch_size", "balanced", "retain_epoch_size", "shuffle", "training", "validation_split"),
    *("imb_factor", "imb_type", "max_per_class", "train_txt", "data_dir"),
)
"""Arguments of data loaders on which the steps of an epoch depend."""

_MEMORY = ("data_loader.args.batch_size", "trainer.precision", "trainer.activation_checkpointing")
"""Keys that decide how many micro-batches fit into memory."""


def run_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """The keys that make two configurations two runs."""
    return differences(old, new, RunConfig, exempt=WHERE_NOT_WHAT)


def changes_since(content: Mapping[str, Any], config: Mapping[str, Any]) -> list[Difference]:
    """In which keys a run's configuration differs from that in a checkpoint; nothing is known of one without."""
    return run_differences(content["config"], config) if "config" in content else []


def go_on_from(
    content: Mapping[str, Any],
    parser: ConfigParser,
    *,
    parts: CheckpointParts,
    optimizer: Optimizer,
    schedule: RateSchedule,
    state: RunState,
    monitor: Monitor,
) -> None:
    """Go on from a checkpoint: exactly where the configuration is the same, else as far as the changes let it.

    Args:
        content: the checkpoint's.
        parser: the run's configuration; its `resume` is the checkpoint's file.
        parts: of the run, as they were built.
        optimizer: one of them.
        schedule: one of them, at its beginning.
        state: one of them.
        monitor: the run's.

    Raises:
        CheckpointError: a change has no meaning here, or a part does not fit.
    """
    checkpoint = parser.resume
    assert checkpoint is not None
    require_training_state(content, checkpoint)
    changes = changes_since(content, parser.config)
    if not changes:
        parts.load(content, checkpoint)
        return
    _require_meaning(content, checkpoint, changes)
    state.load_state_dict(copy.deepcopy(content["progress"]))
    changed = {change.path for change in changes}
    if "trainer.monitor" in changed:
        _find_best(state, monitor)
    if not changed.isdisjoint(_MEMORY):
        state.accumulate_steps = 0
    progress = state.state_dict()
    try:
        schedule.go_through(state, monitor)
    except ValueError as error:
        told = f"the schedule of the configuration can't be brought to epoch {state.epoch}: {reason_of(error)}"
        raise CheckpointError(f"{checkpoint}: {told}") from None
    groups = [
        {**group, "params": saved["params"]}
        for group, saved in zip(
            optimizer.state_dict()["param_groups"], content["optimizer"]["param_groups"], strict=False
        )
    ]
    if len(groups) != len(content["optimizer"]["param_groups"]):
        raise CheckpointError(f"{checkpoint}: its 'optimizer' has another number of parameter groups; {_WEIGHTS_ALONE}")
    # what the new configuration says of the schedule and the loss stays as it was built
    built = {"lr_scheduler", "criterion"}
    learnt = {**content, "progress": progress, "optimizer": {**content["optimizer"], "param_groups": groups}}
    parts.load(learnt, checkpoint, without=built)
    _try_update(optimizer, checkpoint)


def _require_meaning(content: Mapping[str, Any], checkpoint: Path, changes: list[Difference]) -> None:
    """Refuse what can't be given a meaning, in one line."""
    for change in changes:
        section, _, name = change.path.rpartition(".")
        kind = content["config"]["optimizer"]["type"]
        reason = ""
        if change.path == "optimizer.type":
            reason = "another optimiser can't go on from the moments of this one"
        elif change.path == "trainable":
            reason = "the optimiser's moments are those of other parameters"
        elif change.path.partition(".")[0] == "initialise" and change.new is not None:
            reason = "it would have no effect: the checkpoint's weights are taken"
        elif section == "optimizer.args" and name in _ONLY_AT_FIRST.get(kind, ()):
            reason = f"{kind} uses it at the beginning only"
        elif content["progress"]["step"] and _is_order_of_epoch(section, name):
            reason = "the checkpoint is from within an epoch, whose steps would be others: take one of an epoch's end"
        if reason:
            raise CheckpointError(f"{checkpoint}: can't be continued with {change}: {reason}; {_WEIGHTS_ALONE}")


def _is_order_of_epoch(section: str, name: str) -> bool:
    of_loader = section == "data_loader.args" or (section.startswith("loaders.") and section.endswith(".args"))
    return of_loader and name in _ORDER_OF_EPOCH


def _find_best(state: RunState, monitor: Monitor) -> None:
    """The best of the epochs so far by another quantity, as far as they recorded it."""
    state.best, state.best_epoch = None, 0
    for line in state.history:
        value = line.get(monitor.name)
        if value is not None and monitor.is_better(value, state.best):
            state.best, state.best_epoch = value, int(line["epoch"])


def _try_update(optimizer: Optimizer, checkpoint: Path) -> None:
    """See whether the optimiser finds in the state of one weight what its options ask for (amsgrad: a maximum)."""
    group = next(
        (one for one in optimizer.param_groups if any(weight in optimizer.state for weight in one["params"])), None
    )
    if group is None:
        return
    weight = next(weight for weight in group["params"] if weight in optimizer.state)
    trial = nn.Parameter(weight.detach().clone())
    trial.grad = torch.zeros_like(trial)
    kind: Any = type(optimizer)
    tried = kind([{**group, "params": [trial]}])
    tried.state[trial] = copy.deepcopy(optimizer.state[weight])
    try:
        tried.step()
    except (KeyError, TypeError, RuntimeError) as error:
        told = f"its optimizer holds no {error} of the weights, which the configuration's options need"
        raise CheckpointError(f"{checkpoint}: {told}; {_WEIGHTS_ALONE}") from None

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

from base import Monitor, RunState
from trainer.config.run_config import RunConfig
from trainer.refused_changes import reason_against
from trainer.training_state import TrainingState
from trainer.weights import fitting_weights
from utils.config.differences import Difference, differences
from utils.config.parser import ConfigParser
from utils.errors import CheckpointError, reason_of
from utils.files.checkpoint_schema import require_training_state

WHERE_NOT_WHAT = ("n_gpu", "trainer.parallel", "data_loader.args.num_workers", "trainer.report")
"""Keys with which a run may be continued in its own folder: those of another machine, and the report."""

_WEIGHTS_ALONE = "set resume_state_dict_only=true to start a new run from its weights"
_NETWORK_AND_LOSS = {"state_dict", "criterion"}
_MEMORY = (
    *("data_loader.args.batch_size", "data_loader.args.image_size"),
    *("trainer.precision", "trainer.activation_checkpointing"),
)
"""Keys that decide how many micro-batches fit into memory."""


def run_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """The keys that make two configurations two runs."""
    return differences(old, new, RunConfig, exempt=WHERE_NOT_WHAT)


def changes_since(content: Mapping[str, Any], config: Mapping[str, Any]) -> list[Difference]:
    """In which keys a run's configuration differs from that in a checkpoint; nothing is known of one without."""
    return run_differences(content["config"], config) if "config" in content else []


def go_on_from(content: Mapping[str, Any], parser: ConfigParser, training: TrainingState, monitor: Monitor) -> None:
    """Go on from a checkpoint: exactly where the configuration is the same, else as far as the changes let it.

    Args:
        content: the checkpoint's.
        parser: the run's configuration; its `resume` is the checkpoint's file.
        training: of the run, as it was built, its schedule at the beginning.
        monitor: the run's.

    Raises:
        CheckpointError: a change has no meaning here, or a part does not fit.
    """
    checkpoint, state = parser.resume, training.progress
    assert checkpoint is not None
    require_training_state(content, checkpoint)
    changes = changes_since(content, parser.config)
    if not changes:
        weights = fitting_weights(training.method.network, content["state_dict"], checkpoint)
        training.parts.load({**content, "state_dict": weights}, checkpoint)
        return
    method_state = training.method.checkpoint_parts().keys() - _NETWORK_AND_LOSS
    for change in changes:
        if reason := reason_against(change, content, method_state=method_state):
            raise CheckpointError(f"{checkpoint}: can't be continued with {change}: {reason}; {_WEIGHTS_ALONE}")
    state.load_state_dict(copy.deepcopy(content["progress"]))
    changed = {change.path for change in changes}
    if "trainer.monitor" in changed:
        _find_best(state, monitor)
    if not changed.isdisjoint(_MEMORY):
        state.accumulate_steps = 0
    progress = state.state_dict()
    try:
        training.schedule.go_through(state, monitor)
    except ValueError as error:
        told = f"the schedule of the configuration can't be brought to epoch {state.epoch}: {reason_of(error)}"
        raise CheckpointError(f"{checkpoint}: {told}") from None
    moments = _moments(content["optimizer"], training.optimizer, checkpoint)
    # what the new configuration says of the schedule and the loss stays as it was built
    built = {"lr_scheduler", "criterion"}
    weights = fitting_weights(training.method.network, content["state_dict"], checkpoint)
    learnt = {**content, "state_dict": weights, "progress": progress, "optimizer": moments}
    training.parts.load(learnt, checkpoint, without=built)
    _try_update(training.optimizer, checkpoint)


def _moments(saved: Mapping[str, Any], optimizer: Optimizer, checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's moments under the optimiser's own options."""
    own, then = optimizer.state_dict()["param_groups"], saved["param_groups"]
    if [len(group["params"]) for group in own] != [len(group["params"]) for group in then]:
        raise CheckpointError(f"{checkpoint}: its 'optimizer' has the moments of other parameters; {_WEIGHTS_ALONE}")
    groups = [{**group, "params": old["params"]} for group, old in zip(own, then, strict=True)]
    return {**saved, "param_groups": groups}


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

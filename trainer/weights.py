"""Weights into networks: a checkpoint's own, or those that a run begins with."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.experts import ExpertModel
from model.initialisation import take_weights
from model.trainable import freeze_except
from model.weight_sources import read_source
from trainer.config.components import method_classes
from trainer.config.run_config import RunConfig
from utils.errors import ConfigError, Problem, UserError
from utils.files.checkpoint import CheckpointError, without_parallel_prefix
from utils.files.state_differences import kind_differences

logger = logging.getLogger(__name__)


def initialise(config: RunConfig, network: ExpertModel) -> None:
    """Take the weights that `initialise` names into a new network, but for those that are to be new; then `freeze`.

    Raises:
        ConfigError: they are another network's, a pattern fits nothing, or a weight would be new and frozen.
        UserError: there is no such source.
    """
    freeze(config, network)
    options = config.initialise
    if options is None:
        return
    reset = [*options.reset, *(pattern for kind in method_classes(config.method) for pattern in kind.reset)]
    try:
        state = read_source(options.checkpoint)
    except UserError as error:
        raise ConfigError([Problem("initialise.checkpoint", str(error))]) from None
    try:
        taken = take_weights(network, state, source=options.checkpoint, reset=reset, strict=options.strict)
    except ValueError as error:
        raise ConfigError([Problem("initialise", str(error))]) from None
    logger.info("%s", taken.summary())
    weights = dict(network.named_parameters())
    random = [name for name in taken.new if name in weights and not weights[name].requires_grad]
    if random:
        message = f"{options.checkpoint} has no {random[0]} that fits, and it is not trained: it would stay random"
        raise ConfigError([Problem("initialise", message)])


def freeze(config: RunConfig, network: ExpertModel) -> None:
    """Let only those weights be trained that the configuration's `trainable`, or else the method, names.

    Raises:
        ConfigError: a pattern fits nothing.
    """
    patterns: Sequence[str] = method_classes(config.method)[-1].trainable
    if config.trainable is not None:
        patterns = config.trainable
    if list(patterns) == ["*"]:
        return
    try:
        freeze_except(network, patterns)
    except ValueError as error:
        raise ConfigError([Problem("trainable", str(error))]) from None


def weight_differences(network: nn.Module, state: Mapping[str, Any]) -> str:
    """How a state dict's names, shapes and types differ from a network's, the first few of each; empty if none."""
    own = network.state_dict()
    shapes = [
        f"{name} {_shape(state[name])} instead of {_shape(own[name])}"
        for name in sorted(own.keys() & state.keys())
        if _shape(own[name]) != _shape(state[name])
    ]
    kinds = {
        "missing": sorted(own.keys() - state.keys()),
        "unknown": sorted(state.keys() - own.keys()),
        "other shapes": shapes,
        "other types": kind_differences(own, state),
    }
    return "; ".join(
        f"{title} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" for title, names in kinds.items() if names
    )


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else "no tensor"


def fitting_weights(network: nn.Module, state: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's state dict under a network's own names.

    Raises:
        CheckpointError: names, shapes or types differ; the line names the first few.
    """
    state = without_parallel_prefix(dict(state))
    different = weight_differences(network, state)
    if different:
        raise CheckpointError(f"{checkpoint}: does not fit the network of the configuration: {different}")
    return state


def load_weights(network: nn.Module, state: Mapping[str, Any], checkpoint: Path) -> None:
    """Put a checkpoint's state dict into a network; see `fitting_weights`."""
    network.load_state_dict(fitting_weights(network, state, checkpoint))

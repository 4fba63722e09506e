"""The class prior that a run's predictors are at home on: under which their logits are right.

`E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_loader.loader import ImageDataLoader
from model.storage_free import without_storage
from trainer.build import bare_network, build_criterion, method_around, training_context
from trainer.config.run_config import RunConfig
from utils.errors import UserError

_TOLERANCE = 1e-3


def home_priors(config: RunConfig, loader: ImageDataLoader) -> np.ndarray | None:
    """What the run's method declares, [E, C] or [1, C]; None where it can't be said.

    The method is built around a network without memory: only its loss and sampling are asked. One that needs what is
    not on this machine (a teacher's file) says nothing.
    """
    try:
        with without_storage():
            network = bare_network(config)
        context = training_context(config, loader)
        return method_around(config, network, build_criterion(config, context), context).home_priors()
    except UserError:
        return None


def home_in_words(home: np.ndarray | None, class_counts: Sequence[int] | np.ndarray | None) -> str:
    """A home prior [C] for tables: "uniform", "training" (the prior π of the training images), "training^γ" (∝ π^γ).

    Else "other" or, for None, "unknown". Classes without training images are passed over. Without training counts only
    "uniform" has a name.
    """
    if home is None:
        return "unknown"
    counts = np.asarray(np.ones(len(home)) if class_counts is None else class_counts, np.float64)
    trained = counts > 0
    if np.any(home[trained] <= 0):
        return "other"
    log_home = np.log(home[trained]) - np.log(home[trained]).mean()
    log_counts = np.log(counts[trained]) - np.log(counts[trained]).mean()
    if np.abs(log_home).max() < _TOLERANCE:
        return "uniform"
    exponent = float(log_home @ log_counts / max(log_counts @ log_counts, 1e-300))
    if np.abs(log_home - exponent * log_counts).max() > _TOLERANCE:
        return "other"
    return "training" if abs(exponent - 1) < _TOLERANCE else f"training^{exponent:.2f}"

"""Configurations that can be run but surely aren't meant: each gets a warning, none an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from trainer.config.components import DATA_LOADER, OPTIMIZER
from trainer.config.run_config import RunConfig
from trainer.config.schedule_parts import length_warnings
from utils.config.sections import argument_of, build
from utils.errors import Problem
from utils.shot_groups import shot_groups

_FARTHEST_MEAN_TAU = 0.5  # from 1; the published recipes lie within 0.25
_UPDATES_TRIED = 4


def find_config_warnings(
    config: RunConfig, *, steps_per_epoch: int | None = None, class_counts: Sequence[int] = ()
) -> list[Problem]:
    """What is odd about a configuration without problems, and what it leads to.

    Args:
        config: of the run.
        steps_per_epoch: updates of the weights; None, before the data are known: nothing is said of a schedule that
            counts them.
        class_counts: training images of each class, [C]; empty, before the data are known.
    """
    found = [warning for rule in _RULES for warning in rule(config)]
    found += _monitored_group_has_classes(config, class_counts) if class_counts else []
    return found + list(length_warnings(config.lr_scheduler, config.trainer.epochs, steps_per_epoch))


def _ensemble_is_biased(config: RunConfig) -> Iterator[Problem]:
    if config.taus is None:
        return
    mean = sum(config.taus) / len(config.taus)
    if abs(mean - 1) > _FARTHEST_MEAN_TAU:
        favoured = "rare" if mean > 1 else "frequent"
        yield Problem(
            "loss.args.tau_list",
            f"the mean τ is {mean:g}; at 1 the ensemble aims at the balanced error, here it favours {favoured} classes",
        )


def _optimizer_follows_the_schedule(config: RunConfig) -> Iterator[Problem]:
    """Whether the rate makes a difference after the first update, seen on one weight."""
    ends = []
    for factor in (1.0, 0.5):
        weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)  # so that no update is rounded away
        optimizer = build(config.optimizer, OPTIMIZER, [weight], context={}, path="optimizer")
        for _ in range(_UPDATES_TRIED):
            weight.grad = torch.full_like(weight, 0.3)
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= factor
        ends.append(weight.detach())
    if torch.equal(*ends) and config.optimizer.args.get("lr") != 0:
        message = f"{config.optimizer.type} uses its rate in the first update only, so lr_scheduler has no effect"
        yield Problem("optimizer.type", message)


def _early_stop_has_something_to_watch(config: RunConfig) -> Iterator[Problem]:
    monitor = config.monitor
    if not config.trainer.early_stop:
        return
    if monitor.mode == "off":
        yield Problem("trainer.early_stop", "nothing is monitored, so it never stops; set trainer.monitor")
    elif monitor.name.startswith("val_") and not config.trainer.validate:
        message = f"'{config.trainer.monitor}' is only known with validation (--val), so it never stops"
        yield Problem("trainer.early_stop", message)


def _finetuning_is_reached(config: RunConfig) -> Iterator[Problem]:
    epochs, combiner = config.trainer.epochs, config.finetuning_combiner
    if combiner is not None and combiner.initial_epoch > epochs:
        message = f"{combiner.initial_epoch} is never reached in {epochs} epochs"
        yield Problem("finetuning_combiner.initial_epoch", message)


def _monitored_group_has_classes(config: RunConfig, class_counts: Sequence[int]) -> Iterator[Problem]:
    name = config.monitor.name.rpartition("_")[2]
    groups = shot_groups(class_counts)
    if name in groups and not groups[name].any():
        message = f"no class has {name}-shot training images, so {config.monitor.name} is nan and no epoch the best"
        yield Problem("trainer.monitor", message)


def _sampling_and_loss_both_balance(config: RunConfig) -> Iterator[Problem]:
    if argument_of(config.data_loader, DATA_LOADER, "balanced") and config.loss.type == "BSExpertLoss":
        yield Problem(
            "data_loader.args.balanced",
            "class-balanced sampling changes the training prior that BSExpertLoss corrects for: the two together "
            "correct twice",
        )


_RULES: tuple[Callable[[RunConfig], Iterator[Problem]], ...] = (
    _ensemble_is_biased,
    _optimizer_follows_the_schedule,
    _early_stop_has_something_to_watch,
    _finetuning_is_reached,
    _sampling_and_loss_both_balance,
)

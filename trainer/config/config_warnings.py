"""Configurations that can be run but surely aren't meant: each gets a warning, none an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainer.config.components import DATA_LOADER, LR_SCHEDULER
from trainer.config.run_config import RunConfig
from utils.config.sections import argument_of
from utils.errors import Problem

_FARTHEST_MEAN_TAU = 0.5  # from 1; the published recipes lie within 0.25


def find_config_warnings(config: RunConfig) -> list[Problem]:
    """What is odd about a configuration without problems, and what it leads to."""
    return [warning for rule in _RULES for warning in rule(config)]


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


def _schedule_fits_training(config: RunConfig) -> Iterator[Problem]:
    epochs, section = config.trainer.epochs, config.lr_scheduler
    if section.type == "CustomLR":
        step1, step2, warmup = (argument_of(section, LR_SCHEDULER, name) for name in ("step1", "step2", "warmup_epoch"))
        if step2 < step1:
            yield Problem("lr_scheduler.args.step2", f"{step2} comes before step1 = {step1}")
        for name, step in (("step1", step1), ("step2", step2)):
            if step >= epochs:
                yield Problem(f"lr_scheduler.args.{name}", f"{step} is never reached in {epochs} epochs")
        if warmup >= epochs:
            message = f"{warmup} epochs of warm-up in {epochs} epochs of training"
            yield Problem("lr_scheduler.args.warmup_epoch", message)
    elif section.type == "CosineAnnealingLR" and (half := section.args["T_max"]) != epochs:
        what = "rises again" if half < epochs else "never reaches its end"
        yield Problem("lr_scheduler.args.T_max", f"{half} against {epochs} epochs: the learning rate {what}")


def _early_stop_has_something_to_watch(config: RunConfig) -> Iterator[Problem]:
    monitor = config.monitor
    if not config.trainer.early_stop:
        return
    if monitor.mode == "off":
        yield Problem("trainer.early_stop", "nothing is monitored, so it never stops; set trainer.monitor")
    elif monitor.name.startswith("val_") and not config.trainer.validate:
        message = f"'{config.trainer.monitor}' is only known with validation (--val), so it never stops"
        yield Problem("trainer.early_stop", message)


def _sampling_and_loss_both_balance(config: RunConfig) -> Iterator[Problem]:
    if argument_of(config.data_loader, DATA_LOADER, "balanced") and config.loss.type == "BSExpertLoss":
        yield Problem(
            "data_loader.args.balanced",
            "class-balanced sampling changes the training prior that BSExpertLoss corrects for: the two together "
            "correct twice",
        )


_RULES: tuple[Callable[[RunConfig], Iterator[Problem]], ...] = (
    _ensemble_is_biased,
    _schedule_fits_training,
    _early_stop_has_something_to_watch,
    _sampling_and_loss_both_balance,
)

"""Configurations that can be run but surely aren't meant: each gets a warning, none an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trainer.config.run_config import tau_list

_FARTHEST_MEAN_TAU = 0.5  # from 1; the published recipes lie within 0.25


def find_config_warnings(config: dict[str, Any]) -> list[str]:
    """Lines "path: what is odd, and what it leads to" about a configuration without problems."""
    return [line for rule in _RULES for line in rule(config)]


def _ensemble_is_biased(config: dict[str, Any]) -> Iterator[str]:
    if "tau_list" not in config["loss"].get("args", {}):
        return
    taus = tau_list(config)
    mean = sum(taus) / len(taus)
    if abs(mean - 1) > _FARTHEST_MEAN_TAU:
        yield (
            f"loss.args.tau_list: the mean τ is {mean:g}; at 1 the ensemble aims at the balanced error, here it "
            f"favours {'rare' if mean > 1 else 'frequent'} classes"
        )


def _schedule_fits_training(config: dict[str, Any]) -> Iterator[str]:
    epochs, section = config["trainer"]["epochs"], config["lr_scheduler"]
    arguments = section.get("args", {})
    if section["type"] == "CustomLR":
        if arguments["step2"] < arguments["step1"]:
            yield f"lr_scheduler.args.step2: {arguments['step2']} comes before step1 = {arguments['step1']}"
        for name in ("step1", "step2"):
            if arguments[name] >= epochs:
                yield f"lr_scheduler.args.{name}: {arguments[name]} is never reached in {epochs} epochs"
        if arguments.get("warmup_epoch", 5) >= epochs:
            warmup = arguments.get("warmup_epoch", 5)
            yield f"lr_scheduler.args.warmup_epoch: {warmup} epochs of warm-up in {epochs} epochs of training"
    elif section["type"] == "CosineAnnealingLR" and arguments["T_max"] != epochs:
        what = "rises again" if arguments["T_max"] < epochs else "never reaches its end"
        yield f"lr_scheduler.args.T_max: {arguments['T_max']} against {epochs} epochs: the learning rate {what}"


def _early_stop_has_something_to_watch(config: dict[str, Any]) -> Iterator[str]:
    trainer = config["trainer"]
    monitor, validates = trainer.get("monitor", "off"), trainer.get("validate", False)
    if not trainer.get("early_stop"):
        return
    if monitor == "off":
        yield "trainer.early_stop: nothing is monitored, so it never stops; set trainer.monitor"
    elif "val_" in monitor and not validates:
        yield f"trainer.early_stop: '{monitor}' is only known with validation (--val), so it never stops"


def _sampling_and_loss_both_balance(config: dict[str, Any]) -> Iterator[str]:
    if config["data_loader"].get("args", {}).get("balanced") and config["loss"]["type"] == "BSExpertLoss":
        yield (
            "data_loader.args.balanced: class-balanced sampling changes the training prior that BSExpertLoss corrects "
            "for: the two together correct twice"
        )


_RULES: tuple[Callable[[dict[str, Any]], Iterator[str]], ...] = (
    _ensemble_is_biased,
    _schedule_fits_training,
    _early_stop_has_something_to_watch,
    _sampling_and_loss_both_balance,
)

"""The configuration's schema on one screen, and the rules that span several of its keys."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

import data_loader.data_loaders as loaders
import model.loss
import model.metric
import model.model as networks
from base import Monitor, TrainerOptions
from model.loss import ExpertLoss
from model.priors import normalise_tau_list
from trainer.engine import schedules
from trainer.methods.mixing import CombinerOptions, FinetuningCombinerOptions
from utils.config.ranges import NonNegativeInt, Range
from utils.config.schema import Component, OneOf, fields_of, problems

_LOSS_EXTRAS = {"tau_min": float | None, "tau_max": float | None, "return_expert_losses": bool}
_UNFIT_OPTIMIZERS = {
    "LBFGS": "evaluates the loss several times a step",
    "Muon": "takes matrices only, and a convolution's weight is none",
    "SparseAdam": "takes sparse gradients only",
}
_LARGEST_TAU = 1000
_EPOCHS_TRIED = 1000  # a schedule is asked for so many epochs' rates before anything is trained


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The keys of a configuration; published names, kept as they are."""

    name: str
    arch: Annotated[dict, Component((networks,))]
    data_loader: Annotated[dict, Component((loaders,), injected=frozenset({"seed"}))]
    optimizer: Annotated[dict, Component((torch.optim,), base=Optimizer, injected=frozenset({"params"}))]
    lr_scheduler: Annotated[
        dict, Component((schedules, lr_scheduler), base=LRScheduler, injected=frozenset({"optimizer"}))
    ]
    loss: Annotated[
        dict, Component((model.loss,), base=ExpertLoss, injected=frozenset({"cls_num_list"}), extras=_LOSS_EXTRAS)
    ]
    trainer: TrainerOptions
    metrics: list[Annotated[str, OneOf(tuple(model.metric.__all__))]] = field(default_factory=list)
    combiner: CombinerOptions = field(default_factory=CombinerOptions)
    finetuning_combiner: FinetuningCombinerOptions | None = None
    n_gpu: NonNegativeInt = 1
    add_extra_info: bool = True
    resume_state_dict_only: bool = False
    seed: Annotated[int, Range(low=0, high=2**63 - 1)] = 1


def find_problems(config: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a configuration, each line with its path; empty where it can be built.

    Nothing is read and nothing is allocated: networks are built without storage.
    """
    found = problems(config, Recipe, "")
    if not isinstance(config, dict):
        return found
    # a rule speaks where the sections it reads are sound by themselves
    unsound = {line.partition(":")[0].partition(".")[0].partition("[")[0] for line in found}
    unsound |= {name for name, field in fields_of(Recipe).items() if field.required and name not in config}
    return found + [line for sections, rule in _RULES if unsound.isdisjoint(sections) for line in rule(config)]


def num_experts(config: dict[str, Any]) -> int:
    """E."""
    return config["arch"].get("args", {}).get("num_experts", 1)


def tau_list(config: dict[str, Any]) -> list[float]:
    """τ of each expert, whatever way the configuration gives them.

    Raises:
        ValueError: they don't fit the number of experts.
    """
    loss = config["loss"]
    return normalise_tau_list(loss["args"]["tau_list"], num_experts(config), loss.get("tau_min"), loss.get("tau_max"))


def monitor_of(config: dict[str, Any]) -> Monitor:
    """What the run monitors.

    Raises:
        ValueError: a quantity that is never recorded.
    """
    metrics = config.get("metrics", [])
    names = ["loss", *metrics, "val_loss", "val_balanced_accuracy", *(f"val_{name}" for name in metrics)]
    return Monitor.parse(config["trainer"].get("monitor", "off"), names)


def _name_is_one_folder(config: dict[str, Any]) -> list[str]:
    if config["name"] in ("", ".", "..") or "/" in config["name"]:
        return [f"name: is the name of the run's folder, so no path; got {config['name']!r}"]
    return []


def _arch_can_be_built(config: dict[str, Any]) -> list[str]:
    with torch.device("meta"):
        return _trial("arch", lambda: getattr(networks, config["arch"]["type"])(**config["arch"].get("args", {})))


def _optimizer_and_schedule_can_be_built(config: dict[str, Any]) -> list[str]:
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    optimizer: Optimizer = SGD([weight], lr=0.1, momentum=0.9)  # where the configuration's own can't be built

    def one_step() -> None:
        nonlocal optimizer
        name, arguments = config["optimizer"]["type"], config["optimizer"].get("args", {})
        if name in _UNFIT_OPTIMIZERS:
            raise ValueError(f"{name} can't train here: it {_UNFIT_OPTIMIZERS[name]}")
        built = getattr(torch.optim, name)([weight], **arguments)
        built.step()
        optimizer = built

    def all_epochs() -> None:
        name, arguments = config["lr_scheduler"]["type"], config["lr_scheduler"].get("args", {})
        schedule = getattr(schedules if name in schedules.__all__ else lr_scheduler, name)(optimizer, **arguments)
        for epoch in range(1, min(config["trainer"]["epochs"], _EPOCHS_TRIED) + 1):
            rate = float(optimizer.param_groups[0]["lr"])
            if not 0 <= rate <= torch.finfo(torch.float32).max:
                raise ValueError(f"the learning rate of epoch {epoch} would be {rate:g}")
            schedule.step(*([0.0] if isinstance(schedule, ReduceLROnPlateau) else []))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unfit = config["optimizer"]["type"] in _UNFIT_OPTIMIZERS
        return _trial("optimizer.type" if unfit else "optimizer", one_step) + _trial("lr_scheduler", all_epochs)


def _tau_fits_experts(config: dict[str, Any]) -> list[str]:
    if "tau_list" not in config["loss"].get("args", {}):
        return []

    def small_enough() -> None:
        largest = max(tau_list(config), key=abs)
        if abs(largest) > _LARGEST_TAU:
            raise ValueError(f"a τ of {largest:g} is out of all proportion; at most ±{_LARGEST_TAU}")

    return _trial("loss.args.tau_list", small_enough)


def _loss_sees_experts(config: dict[str, Any]) -> list[str]:
    if "tau_list" not in fields_of(getattr(model.loss, config["loss"]["type"])) or num_experts(config) == 1:
        return []
    found = []
    if not config.get("add_extra_info", True):
        found.append(f"add_extra_info: must be true: {config['loss']['type']} needs each expert's logits")
    if not config["arch"].get("args", {}).get("returns_feat", False):
        found.append(f"arch.args.returns_feat: must be true: {config['loss']['type']} needs each expert's logits")
    return found


def _monitor_is_recorded(config: dict[str, Any]) -> list[str]:
    return _trial("trainer.monitor", lambda: monitor_of(config))


def _plateau_follows_the_monitor(config: dict[str, Any]) -> list[str]:
    if config["lr_scheduler"]["type"] != "ReduceLROnPlateau" or _monitor_is_recorded(config):
        return []
    monitor = monitor_of(config)
    if not (config["trainer"].get("validate") and monitor.name.startswith("val_")):
        return ["trainer.monitor: ReduceLROnPlateau follows a val_ quantity: name one, and validate (--val)"]
    mode = config["lr_scheduler"].get("args", {}).get("mode", "min")
    if mode != monitor.mode:
        return [f"lr_scheduler.args.mode: is {mode!r} and trainer.monitor says {monitor.mode!r}: make them equal"]
    return []


def _logits_mix_only_by_mixup(config: dict[str, Any]) -> list[str]:
    found = []
    for section in ("combiner", "finetuning_combiner"):
        combiner = config.get(section) or {}
        mixes_logits = combiner.get("mixup", {}).get("target_mix_strategy") == "mix_logits"
        if mixes_logits and combiner.get("mode") not in ("mixup", None):
            path = f"{section}.mixup.target_mix_strategy"
            found.append(f"{path}: mix_logits goes with mode mixup; got {combiner['mode']!r}")
    return found


_RULES: tuple[tuple[set[str], Callable[[dict[str, Any]], list[str]]], ...] = (
    ({"name"}, _name_is_one_folder),
    ({"arch"}, _arch_can_be_built),
    ({"optimizer", "lr_scheduler", "trainer"}, _optimizer_and_schedule_can_be_built),
    ({"loss", "arch"}, _tau_fits_experts),
    ({"loss", "arch", "add_extra_info"}, _loss_sees_experts),
    ({"trainer", "metrics"}, _monitor_is_recorded),
    ({"trainer", "metrics", "lr_scheduler"}, _plateau_follows_the_monitor),
    ({"combiner", "finetuning_combiner"}, _logits_mix_only_by_mixup),
)
"""The sections that a rule reads, and the rule."""


def _trial(path: str, build: Callable[[], object]) -> list[str]:
    """Build something to see whether it can be; what it says against it, as one line."""
    try:
        build()
    except Exception as error:  # torch's constructors raise nearly anything
        reason = str(error.args[0] if error.args else "").strip() or type(error).__name__
        return [f"{path}: {reason.splitlines()[0]}"]
    return []

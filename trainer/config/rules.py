"""What may be wrong between the keys of a configuration that are each right by themselves."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from base import VIEWS
from model.storage_free import without_storage
from trainer.config.components import ARCH, LOSS, LR_SCHEDULER, OPTIMIZER, method_classes
from trainer.config.number_ranges import meaningless_numbers_of_optimizer, meaningless_numbers_of_schedules
from trainer.engine.rate_schedule import require_length, step_unit, with_length
from utils.config.components import fields_of
from utils.config.sections import argument_of, build
from utils.config.wording import joined
from utils.errors import ConfigError, Problem, nearest, reason_of

if TYPE_CHECKING:
    from trainer.config.run_config import RunConfig

UNFIT_OPTIMIZERS = {
    "LBFGS": "evaluates the loss several times a step",
    "Muon": "takes matrices only, and a convolution's weight is none",
    "SparseAdam": "takes sparse gradients only",
}
_LARGEST_TAU = 1000
_EPOCHS_TRIED = 1000  # a schedule is asked for so many epochs' (or steps') rates before anything is trained
_STEPS_TRIED = 1000  # an epoch's, which are not known before the data are
_CLASSES_TRIED = 1000  # the loss is tried with so many at most: a loss may hold a number for each pair of classes


def _name_is_one_folder(config: RunConfig) -> list[Problem]:
    if config.name in ("", ".", "..") or "/" in config.name:
        return [Problem("name", f"is the name of the run's folder, so no path; got {config.name!r}")]
    return []


def _arch_can_be_built(config: RunConfig) -> list[Problem]:
    key = ARCH.choices().get(config.arch.type), json.dumps(config.arch.args, sort_keys=True, default=repr)
    if key in _built:
        return []
    with without_storage():
        found = _trial("arch", lambda: build(config.arch, ARCH, context={}, path="arch"))
    if not found:
        _built.add(key)
    return found


_built: set[tuple[type | None, str]] = set()
"""Networks, by class and arguments, that have been built: a process may look at many configurations of the same."""


def _optimizer_and_schedule_can_be_built(config: RunConfig) -> list[Problem]:
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    optimizer: Optimizer = SGD([weight], lr=0.1, momentum=0.9)  # where the configuration's own can't be built

    def one_step() -> None:
        nonlocal optimizer
        built: Optimizer = build(config.optimizer, OPTIMIZER, [weight], context={}, path="optimizer")
        built.step()
        optimizer = built

    def all_epochs() -> None:
        epochs, unit = config.trainer.epochs, step_unit(config.lr_scheduler)
        section = with_length(config.lr_scheduler, epochs, _STEPS_TRIED)
        schedule = build(section, LR_SCHEDULER, context={"optimizer": optimizer}, path="lr_scheduler")
        require_length(schedule, epochs, unit)
        for number in range(1, min(epochs, _EPOCHS_TRIED) + 1):
            rate = float(optimizer.param_groups[0]["lr"])
            if not 0 <= rate <= torch.finfo(torch.float32).max:
                raise ValueError(f"the learning rate of {unit} {number} would be {rate:g}")
            schedule.step(*([0.0] if isinstance(schedule, ReduceLROnPlateau) else []))

    found = meaningless_numbers_of_optimizer(config.optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = config.optimizer.type
        if name in UNFIT_OPTIMIZERS:
            found += [Problem("optimizer.type", f"{name} can't train here: it {UNFIT_OPTIMIZERS[name]}")]
        elif not found:
            found += _trial("optimizer", one_step)
        return found + (meaningless_numbers_of_schedules(config.lr_scheduler) or _trial("lr_scheduler", all_epochs))


def _tau_fits_experts(config: RunConfig) -> list[Problem]:
    def small_enough() -> None:
        largest = max(config.taus or [0.0], key=abs)
        if abs(largest) > _LARGEST_TAU:
            raise ValueError(f"τ = {largest:g} is too large; at most ±{_LARGEST_TAU}")

    return _trial("loss.args.tau_list", small_enough)


def _loss_can_be_built(config: RunConfig) -> list[Problem]:
    """Whether the loss takes its arguments; whatever it calculates with the made-up counts, it does without storage."""
    if _tau_fits_experts(config):
        return []
    if config.taus is None and "taus" in fields_of(LOSS.choices()[config.loss.type]):
        message = f"{config.loss.type} asks for taus; a loss is given τ of each expert as its own argument tau_list"
        return [Problem("loss.type", message)]
    classes = min(argument_of(config.arch, ARCH, "num_classes"), _CLASSES_TRIED)
    counts = np.arange(classes, 0, -1)
    context = {
        **{"cls_num_list": counts.tolist(), "class_counts": counts.tolist(), "training_prior": counts / counts.sum()},
        **{"num_classes": classes, "num_experts": config.num_experts, "taus": config.taus, "seed": config.seed},
        **{"epochs": config.trainer.epochs, "steps_per_epoch": 1},
    }
    loss = config.loss if config.taus is None else config.loss.with_args(tau_list=config.taus)
    try:
        with without_storage():
            build(loss, LOSS, context=context, path="loss")
    except ConfigError as error:
        return error.problems
    except Exception:  # what has no storage can't be looked at; the loss itself will say what is wrong, if anything is
        return []
    return []


def _loss_sees_experts(config: RunConfig) -> list[Problem]:
    kind: Any = LOSS.choices()[config.loss.type]
    if config.num_experts == 1 or not (getattr(kind, "needs_expert_logits", False) or "tau_list" in fields_of(kind)):
        return []
    message = f"must be true: {config.loss.type} needs each expert's logits"
    found = [] if config.add_extra_info else [Problem("add_extra_info", message)]
    return found + (
        [] if argument_of(config.arch, ARCH, "returns_feat") else [Problem("arch.args.returns_feat", message)]
    )


def _monitor_is_recorded(config: RunConfig) -> list[Problem]:
    return _trial("trainer.monitor", lambda: config.monitor)


def _plateau_follows_the_monitor(config: RunConfig) -> list[Problem]:
    if config.lr_scheduler.type != "ReduceLROnPlateau" or _monitor_is_recorded(config):
        return []
    if step_unit(config.lr_scheduler) == "step":
        message = "ReduceLROnPlateau follows a quantity that each epoch has once: leave it out"
        return [Problem("lr_scheduler.step_unit", message)]
    monitor = config.monitor
    if not (config.trainer.validate and monitor.name.startswith("val_")):
        message = "ReduceLROnPlateau follows a val_ quantity: name one, and validate (--val)"
        return [Problem("trainer.monitor", message)]
    mode = argument_of(config.lr_scheduler, LR_SCHEDULER, "mode")
    if mode != monitor.mode:
        message = f"is {mode!r} and trainer.monitor says {monitor.mode!r}: make them equal"
        return [Problem("lr_scheduler.args.mode", message)]
    return []


def _logits_mix_only_by_mixup(config: RunConfig) -> Iterator[Problem]:
    for section, combiner in (("combiner", config.combiner), ("finetuning_combiner", config.finetuning_combiner)):
        if combiner and combiner.mixup.target_mix_strategy == "mix_logits" and combiner.mode != "mixup":
            path = f"{section}.mixup.target_mix_strategy"
            yield Problem(path, f"mix_logits goes with mode mixup; got {combiner.mode!r}")


def _method_asks_for_views_that_there_are(config: RunConfig) -> list[Problem]:
    kind = method_classes(config.method)[-1]
    unknown = [view for view in kind.views if view not in VIEWS]
    if not unknown:
        return []
    message = f"{kind.__name__} asks for the view {unknown[0]!r} of the images; there are {', '.join(VIEWS)}"
    return [Problem("method.type", message)]


def _networks_have_names_of_their_own(config: RunConfig) -> list[Problem]:
    """Checkpoints and tables know a method's networks by their names alone."""
    names: dict[str, str] = {}
    for kind in method_classes(config.method):
        for name in (weights for weights in kind.weights if weights != "raw"):
            if name in names:
                message = f"{names[name]} and {kind.__name__} both keep {name} weights; take one of them"
                return [Problem("method.args.method", message)]
            names[name] = kind.__name__
    return []


def _method_has_a_network_to_start_from(config: RunConfig) -> list[Problem]:
    needing = [kind.__name__ for kind in method_classes(config.method) if kind.needs_initialise]
    if not needing or config.initialise is not None:
        return []
    message = f"is missing: {needing[-1]} starts from a trained network; name its checkpoint (--initialise FILE)"
    return [Problem("initialise", message)]


def _loaders_are_those_that_the_method_takes(config: RunConfig) -> list[Problem]:
    kind = method_classes(config.method)[-1]
    wanted = [name for name in kind.loaders if name != "train"]
    unwanted = [name for name in config.loaders if name not in wanted]
    missing = [name for name in wanted if name not in config.loaders]
    takes = f"{kind.__name__} takes batches of data_loader{''.join(f' and {name}' for name in wanted)}"
    if unwanted:  # a misspelt name is one mistake, not two
        return [Problem(joined("loaders", name), f"is not used: {takes}{nearest(name, missing)}") for name in unwanted]
    return [Problem(joined("loaders", name), f"is missing: {takes}") for name in missing]


def _graphs_take_whole_batches(config: RunConfig) -> list[Problem]:
    """CUDA graphs reuse the memory of gradients from one pass to the next."""
    options, parts = config.trainer, config.trainer.accumulate_steps
    if not options.replays_graphs or parts in (None, 1):
        return []
    message = f"{options.compile} does not go with trainer.accumulate_steps {parts}: set true"
    return [Problem("trainer.compile", message)]


def _compiled_networks_are_not_copied(config: RunConfig) -> list[Problem]:
    """DataParallel's copies of a compiled network would run the original, on its GPU."""
    options = config.trainer
    if not options.compile or options.parallel != "dp":
        return []
    message = f"{str(options.compile).lower()} does not go with trainer.parallel dp: set ddp"
    return [Problem("trainer.compile", message)]


def _momentum_begins_with_a_gradient(config: RunConfig) -> list[Problem]:
    """PyTorch's fused SGD makes its momentum before it sees that a gradient has overflowed, and never fills it."""
    args = config.optimizer.args
    if config.optimizer.type != "SGD" or config.trainer.precision != "fp16":
        return []
    if not (args.get("fused") and args.get("momentum")):
        return []
    message = "does not go with trainer.precision fp16: if the first step overflows, momentum begins with any numbers"
    return [Problem("optimizer.args.fused", f"{message}; leave it out")]


RULES: tuple[tuple[set[str], Callable[[RunConfig], list[Problem] | Iterator[Problem]]], ...] = (
    ({"name"}, _name_is_one_folder),
    ({"arch"}, _arch_can_be_built),
    ({"loss", "arch"}, _tau_fits_experts),
    ({"loss", "arch", "trainer", "seed"}, _loss_can_be_built),
    ({"loss", "arch", "add_extra_info"}, _loss_sees_experts),
    ({"trainer", "metrics", "method"}, _monitor_is_recorded),
    ({"trainer", "metrics", "method", "lr_scheduler"}, _plateau_follows_the_monitor),
    ({"combiner", "finetuning_combiner"}, _logits_mix_only_by_mixup),
    ({"method"}, _method_asks_for_views_that_there_are),
    ({"method"}, _networks_have_names_of_their_own),
    ({"method", "initialise"}, _method_has_a_network_to_start_from),
    ({"optimizer", "trainer"}, _momentum_begins_with_a_gradient),
    ({"trainer"}, _graphs_take_whole_batches),
    ({"loaders", "method"}, _loaders_are_those_that_the_method_takes),
)
"""The sections that a rule reads, and the rule."""
TRAINING_RULES = (
    ({"optimizer", "lr_scheduler", "trainer"}, _optimizer_and_schedule_can_be_built),
    ({"trainer"}, _compiled_networks_are_not_copied),
)
"""More of them, of what a trained network doesn't need."""


def _trial(path: str, build_it: Callable[[], object]) -> list[Problem]:
    """Build something to see whether it can be; what it says against it, as one line."""
    try:
        build_it()
    except ConfigError as error:
        return error.problems
    except Exception as error:  # torch's constructors raise nearly anything
        return [Problem(path, reason_of(error))]
    return []

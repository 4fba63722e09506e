"""The configuration's schema on one screen; the typed configuration of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Any

from base import Monitor, TrainerOptions
from model.metrics import METRICS, PUBLISHED_NAMES
from model.priors import normalise_tau_list
from trainer.config.components import (
    ARCH,
    DATA_LOADER,
    LOSS,
    LR_SCHEDULER,
    METHOD,
    OPTIMIZER,
    TRAINING_CONTEXT,
    UPDATE_RULE,
    method_classes,
)
from trainer.config.rules import RULES, TRAINING_RULES
from trainer.evaluation.validation import logged_names, split_published_name
from trainer.methods.mixing import CombinerOptions, FinetuningCombinerOptions
from utils.config.components import OneOf, fields_of
from utils.config.parser import ConfigParser
from utils.config.ranges import Range
from utils.config.schema import construct, problems
from utils.config.sections import Section, argument_of
from utils.errors import Problem

__all__ = ["TRAINING_CONTEXT", "InitialiseOptions", "RunConfig", "find_problems", "run_config"]

_MOST_GPUS = 1024


@dataclass(frozen=True, kw_only=True)
class InitialiseOptions:
    """Section `initialise`: weights to start from.

    Args:
        checkpoint: a file.
        reset: patterns of parameters that stay new.
        strict: every other weight must be in the file.
    """

    checkpoint: str
    reset: list[str] = field(default_factory=list)
    strict: bool = True


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The configuration of a run; the keys have their published names.

    Args:
        name: of the run: the folder below `<save_dir>/models/`.
        arch: the network.
        data_loader: the data set, its splits and batches.
        optimizer: one of torch's.
        lr_scheduler: `CustomLR` or one of torch's, by epochs or by steps.
        loss: what is minimised.
        trainer: how long, how often, on what and in which precision the run trains.
        metrics: what is recorded besides the loss; see `recorded_metrics`.
        combiner: how batches are mixed.
        finetuning_combiner: how they are mixed from its `initial_epoch` on.
        method: how the loss comes about from batches.
        update_rule: how gradients become an update.
        loaders: further data loaders by name, for methods that take batches from several.
        initialise: weights to start from.
        trainable: patterns of the parameters that are trained; null: those that the method says.
        n_gpu: GPUs to train on; with none at hand the CPU trains.
        add_extra_info: give the loss each expert's logits.
        resume_state_dict_only: take a checkpoint's weights alone, for a new run.
        seed: of everything random.
    """

    name: str
    arch: Annotated[Section, ARCH]
    data_loader: Annotated[Section, DATA_LOADER]
    optimizer: Annotated[Section, OPTIMIZER]
    lr_scheduler: Annotated[Section, LR_SCHEDULER]
    loss: Annotated[Section, LOSS]
    trainer: TrainerOptions
    metrics: list[Annotated[str, OneOf((*METRICS, *PUBLISHED_NAMES))]] = field(default_factory=list)
    combiner: CombinerOptions = field(default_factory=CombinerOptions)
    finetuning_combiner: FinetuningCombinerOptions | None = None
    method: Annotated[Section, METHOD] = field(default_factory=partial(Section, METHOD.default))
    update_rule: Annotated[Section, UPDATE_RULE] = field(default_factory=partial(Section, UPDATE_RULE.default))
    loaders: dict[str, Annotated[Section, DATA_LOADER]] = field(default_factory=dict)
    initialise: InitialiseOptions | None = None
    trainable: list[str] | None = None
    n_gpu: Annotated[int, Range(low=0, high=_MOST_GPUS)] = 1
    add_extra_info: bool = True
    resume_state_dict_only: bool = False
    seed: Annotated[int, Range(low=0, high=2**63 - 1)] = 1

    @property
    def num_experts(self) -> int:
        """E."""
        return argument_of(self.arch, ARCH, "num_experts")

    @cached_property
    def taus(self) -> list[float] | None:
        """τ of each expert [E], whatever way the configuration gives them; None where the loss takes none.

        Raises:
            ValueError: they don't fit the number of experts.
        """
        taus, extras = argument_of(self.loss, LOSS, "tau_list"), self.loss.extras
        if taus is None:
            return None
        return normalise_tau_list(taus, self.num_experts, extras["tau_min"], extras["tau_max"])

    @cached_property
    def recorded_metrics(self) -> list[str]:
        """The metrics by their names here, and one that `trainer.monitor` asks for by its published name.

        Published code validated all of these, whatever its `metrics`.
        """
        names = [PUBLISHED_NAMES.get(name, name) for name in self.metrics]
        _, monitored = split_published_name(self.trainer.monitor)
        return list(dict.fromkeys([*names, monitored] if monitored else names))

    @cached_property
    def monitor(self) -> Monitor:
        """What the run monitors.

        Raises:
            ValueError: a quantity that is never recorded.
        """
        monitored = "".join(split_published_name(self.trainer.monitor))
        weights = [name for kind in method_classes(self.method) for name in kind.weights]
        return Monitor.parse(monitored, logged_names(self.recorded_metrics, dict.fromkeys(weights)))


def find_problems(config: Any, *, trained: bool = False) -> list[Problem]:
    """Everything that is wrong with a configuration; empty where it can be built.

    Nothing is read and nothing is allocated: networks are built without storage.

    Args:
        config: as it was read.
        trained: it is a trained network's, for which optimiser and schedule aren't built.
    """
    found = problems(config, RunConfig, "")
    if not isinstance(config, dict):
        return found
    keys = fields_of(RunConfig)
    unsound = {problem.path.partition(".")[0].partition("[")[0] for problem in found}
    unsound |= {name for name, key in keys.items() if key.required and name not in config}
    given = {name: keys[name].annotation for name in config if name in keys and name not in unsound}
    values: dict[str, Any] = dict.fromkeys(unsound & keys.keys())
    sound = RunConfig(**values | {name: construct(config[name], annotation) for name, annotation in given.items()})
    # a rule speaks where the sections it reads are sound by themselves
    rules = RULES if trained else (*RULES, *TRAINING_RULES)
    return found + [problem for sections, rule in rules if unsound.isdisjoint(sections) for problem in rule(sound)]


def run_config(parser: ConfigParser, *, trained: bool = False) -> RunConfig:
    """The configuration of a run, checked, typed, with every default filled in and τ as one number an expert.

    Args:
        parser: what was read.
        trained: see `find_problems`.

    Raises:
        ConfigError: everything that is wrong with it, each problem with where it was set.
    """
    parser.validate(partial(find_problems, trained=trained))
    config = construct(parser.config, RunConfig, origins=parser.origins)
    if config.taus is None:
        return config
    return replace(config, loss=config.loss.with_args(tau_list=config.taus))

"""From a run's configuration to its parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import model.metric
from base import BaseDataLoader, CheckpointParts, RunFolder, RunState
from data_loader.loader import ImageDataLoader
from model.experts import ExpertModel
from model.initialisation import freeze_except, read_source, take_weights
from trainer.config.components import ARCH, DATA_LOADER, LOSS, LR_SCHEDULER, METHOD, OPTIMIZER, UPDATE_RULE
from trainer.config.run_config import RunConfig
from trainer.engine.engine import Engine, gpus_in_use
from trainer.engine.precision import Precision
from trainer.engine.update_rules.base import UpdateRule
from trainer.methods.base import Method
from trainer.methods.mixing import Combiner
from trainer.trainer import Trainer
from utils.config.parser import ConfigParser
from utils.config.sections import build
from utils.distributed.context import DistributedContext
from utils.errors import ConfigError, UserError
from utils.files.checkpoint import CheckpointError, without_parallel_prefix
from utils.reporting.meters import RunningMeans
from utils.reporting.tensorboard import Recorder, SilentRecorder

logger = logging.getLogger(__name__)


def build_loader(config: RunConfig, *, processes: int = 1) -> ImageDataLoader:
    """The loader of the training split (or whichever the configuration asks for), its data read.

    Args:
        config: of the run.
        processes: of this run on this machine; `num_workers` is for all of them together.

    Raises:
        ConfigError: the network has another number of classes than the data.
        UserError: the data are missing or damaged.
    """
    loader = _loader(config.data_loader, "data_loader", config, processes)
    expected = config.arch.args["num_classes"]
    if loader.num_classes != expected:
        message = f"{expected} does not fit the data, which have {loader.num_classes} classes"
        raise ConfigError([config.arch.origins.tell(Problem("arch.args.num_classes", message))])
    return loader


def _loader(section: Section, path: str, config: RunConfig, processes: int) -> ImageDataLoader:
    loader = build(section, DATA_LOADER, context={"seed": config.seed}, path=path)
    loader.num_workers = -(-loader.num_workers // processes)
    return loader


def build_model(config: RunConfig, device: torch.device) -> ExpertModel:
    """The network with what the method adds to it, its weights drawn from the run's seed."""
    torch.manual_seed(config.seed)
    network = build(config.arch, ARCH, context={}, path="arch")
    for method in method_classes(config.method):
        method.prepare_network(network)
    options = config.trainer
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    network = network.to(device, memory_format=memory_format)
    network.backbone.checkpoints_activations = options.activation_checkpointing
    network.autocast = build_precision(config, device).autocast
    if options.compile:
        network.compile()
    return network


def build_precision(config: RunConfig, device: torch.device) -> Precision:
    """The precision that networks run in, in this whole process."""
    precision = Precision(config.trainer.precision, device)
    precision.allow_tf32()
    return precision


def build_optimizer(config: RunConfig, method: Method) -> Optimizer:
    """One of torch's, over what the method trains."""
    return build(config.optimizer, OPTIMIZER, list(method.trainable_parameters()), context={}, path="optimizer")


def build_schedule(config: RunConfig, optimizer: Optimizer) -> LRScheduler:
    """The learning-rate schedule: one of ours or of torch's."""
    schedule = build(config.lr_scheduler, LR_SCHEDULER, optimizer, context={}, path="lr_scheduler")
    # else torch takes a step that is left out, or was another process's, for a wrong order, and warns
    vars(optimizer)["_opt_called"] = True
    return schedule


def training_context(
    config: RunConfig, loader: BaseDataLoader, distributed: DistributedContext | None = None
) -> dict[str, Any]:
    """What losses, methods and update rules may ask for by the names of their constructors' arguments."""
    class_counts = loader.cls_num_list
    return {
        "cls_num_list": class_counts,
        "class_counts": class_counts,
        "training_prior": drawn_prior(class_counts, balanced=bool(config.data_loader.args.get("balanced"))),
        "num_classes": loader.num_classes,
        "num_experts": config.num_experts,
        "taus": config.taus,
        "epochs": config.trainer.epochs,
        "steps_per_epoch": len(loader),
        "seed": config.seed,
        "distributed": distributed or DistributedContext(),
        "mixing": Combiner(config.combiner, config.seed, config.finetuning_combiner),
        "metrics": batch_metrics(config),
        "log_expert_losses": config.loss.extras["return_expert_losses"],
        "give_expert_logits": config.add_extra_info,
    }


def batch_metrics(config: RunConfig) -> dict[str, Any]:
    """The metrics of batches that the configuration names: name → function of (output [B, C], targets [B])."""
    return {name: getattr(model.metric, name) for name in config.metrics}


def drawn_prior(class_counts: list[int], *, balanced: bool) -> np.ndarray:
    """Class frequencies of the training images as they are drawn, [C]: as they are, or every class equally often."""
    counts = np.array(class_counts, np.float64)
    weights = (counts > 0).astype(np.float64) if balanced else counts
    return weights / weights.sum()


def build_method(config: RunConfig, network: ExpertModel, context: Mapping[str, Any]) -> Method:
    """The method around a network, its loss on the network's device."""
    device = next(network.parameters()).device
    criterion = build(config.loss, LOSS, context=context, path="loss").to(device)
    return build(config.method, METHOD, context={**context, "network": network, "criterion": criterion}, path="method")


def build_engine(
    config: RunConfig,
    method: Method,
    precision: Precision,
    device: torch.device,
    state: RunState,
    distributed: DistributedContext,
) -> Engine:
    """How a method runs on the devices there are; where `n_gpu` asks for more, each takes its shard in more parts."""
    options, n_gpu = config.trainer, config.n_gpu
    in_use = gpus_in_use(options.parallel, n_gpu, distributed)
    steps = options.accumulate_steps
    if steps is None:
        steps = max(-(-n_gpu // in_use), 1)
        if steps > 1:
            logger.info("n_gpu is %d and %d at work: a share of a batch is taken in %d parts", n_gpu, in_use, steps)
    elif steps == "auto":
        steps = max(state.accumulate_steps, 1)
    return Engine(
        method,
        precision,
        device=device,
        distributed=distributed,
        mode=options.parallel,
        n_gpu=n_gpu,
        accumulate_steps=steps,
    )


def prepare_weights(config: RunConfig, network: ExpertModel) -> None:
    """Take weights from where `initialise` says, and freeze what is not trained.

    Raises:
        ConfigError: they don't fit, or a pattern matches nothing.
        UserError: there is no such source.
    """
    kind = method_classes(config.method)[-1]
    options = config.initialise
    if options is not None:
        try:
            reset = [*options.reset, *kind.reset]
            taken = take_weights(
                network, read_source(options.checkpoint), source=options.checkpoint, reset=reset, strict=options.strict
            )
        except ValueError as error:
            raise ConfigError([Problem("initialise", str(error))]) from None
        logger.info("%s", taken.summary())
    patterns = config.trainable if config.trainable is not None else kind.trainable
    if list(patterns) != ["*"]:
        try:
            freeze_except(network, patterns)
        except ValueError as error:
            raise ConfigError([Problem("trainable", str(error))]) from None


def weight_differences(network: nn.Module, state: Mapping[str, Any]) -> str:
    """How a state dict's names and shapes differ from a network's, the first few of each kind; empty if they don't."""
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
    }
    return "; ".join(
        f"{title} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" for title, names in kinds.items() if names
    )


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else "no tensor"


def load_weights(network: nn.Module, state: Mapping[str, Any], checkpoint: Path) -> None:
    """Put a checkpoint's state dict into a network.

    Raises:
        CheckpointError: names or shapes differ; the line names the first few.
    """
    state = without_parallel_prefix(dict(state))
    different = weight_differences(network, state)
    if different:
        raise CheckpointError(f"{checkpoint}: does not fit the network of the configuration: {different}")
    network.load_state_dict(state)


def build_trainer(
    config: ConfigParser,
    *,
    loader: BaseDataLoader,
    device: torch.device,
    folder: RunFolder,
    resumed: Mapping[str, Any] | None,
    distributed: DistributedContext | None = None,
) -> Trainer:
    """Put a run together, and take it up where a checkpoint left it.

    Args:
        config: of the run; its `resume` is the checkpoint to continue from.
        loader: of the training split.
        device: to train on.
        folder: the run's folder.
        resumed: content of that checkpoint; with `resume_state_dict_only` the weights alone of another run's count.
        distributed: the processes that train; None: this one alone.
    """
    run, distributed = run_config(config), distributed or DistributedContext()
    options, context = run.trainer, training_context(run, loader, distributed)
    network = build_model(run, device)
    if resumed is None:  # a continued run has been through this
        prepare_weights(run, network)
    else:
        assert config.resume is not None
        load_weights(network, resumed["state_dict"], config.resume)
    if options.sync_batchnorm and distributed.group is not None and device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    precision = build_precision(run, device)
    method = build_method(run, network, context)
    optimizer = build_optimizer(run, method)
    schedule = build_schedule(run, optimizer)
    meters, state, parts = RunningMeans(device), RunState(), CheckpointParts()
    for name, part in method.checkpoint_parts().items():
        parts.register(name, part)
    for name, part in {
        "optimizer": optimizer,
        "lr_scheduler": schedule,
        "meters": meters,
        "precision": precision,
        "progress": state,
    }.items():
        parts.register(name, part)
    if resumed is not None and not (run.resume_state_dict_only and not _is_own(config.resume, folder)):
        parts.load(resumed, config.resume)
    if not distributed.is_main:
        meters.reset()  # rank 0 goes on with what all had counted
    rule: UpdateRule = build(
        run.update_rule,
        UPDATE_RULE,
        context={**context, "optimizer": optimizer, "precision": precision, "network": network},
        path="update_rule",
    )
    recorder = _recorder(config, folder, state, wandb=options.wandb) if distributed.is_main else SilentRecorder()
    return Trainer(
        method=method,
        engine=build_engine(run, method, precision, device, state, distributed),
        update_rule=rule,
        optimizer=optimizer,
        schedule=schedule,
        loaders={"train": loader},
        validation_loader=loader.of_split("validation"),
        metrics=context["metrics"],
        meters=meters,
        options=options,
        monitor=run.monitor,
        folder=folder,
        recorder=recorder,
        parts=parts,
        metadata={"arch": run.arch.type, "config": config.config, "class_names": loader.class_names},
        state=state,
        distributed=distributed,
    )

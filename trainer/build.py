"""From a run's configuration to its parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from base import BaseDataLoader, RunFolder, RunState
from data_loader.loader import ImageDataLoader
from model.experts import ExpertModel
from model.losses.base import ExpertLoss
from model.metrics import batch_metrics
from trainer.config.components import (
    ARCH,
    LOSS,
    METHOD,
    OPTIMIZER,
    UPDATE_RULE,
    method_classes,
)
from trainer.config.run_config import RunConfig
from trainer.continuation import go_on_from
from trainer.engine.engine import Engine, gpus_in_use
from trainer.engine.precision import Precision
from trainer.engine.rate_schedule import build_rate_schedule
from trainer.engine.update_rules.base import UpdateRule
from trainer.methods.base import Method
from trainer.methods.mixing import Combiner
from trainer.trainer import Trainer
from trainer.training_state import TrainingState
from trainer.weights import freeze, initialise, load_weights
from utils.config.parser import ConfigParser
from utils.config.sections import build
from utils.distributed.context import DistributedContext
from utils.errors import ConfigError, Problem
from utils.reporting.meters import RunningMeans
from utils.reporting.tensorboard import Recorder, SilentRecorder

logger = logging.getLogger(__name__)


def bare_network(config: RunConfig) -> ExpertModel:
    """The network with what the method adds to it, its weights drawn from the run's seed."""
    torch.manual_seed(config.seed)
    network: ExpertModel = build(config.arch, ARCH, context={}, path="arch")
    for method in method_classes(config.method):
        method.prepare_network(network)
    return network


def build_model(config: RunConfig, device: torch.device) -> ExpertModel:
    """The network on its device, as the configuration's `trainer` section wants it run."""
    network, options = bare_network(config), config.trainer
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    network = network.to(device).to(memory_format=memory_format)
    network.backbone.checkpoints_activations = options.activation_checkpointing
    network.autocast = build_precision(config, device).autocast
    if options.compile:
        mode = options.compile if isinstance(options.compile, str) else None
        network.compile(mode=mode, dynamic=False)  # the short last batch gets its own: sizes of all are known to each
    return network


def build_precision(config: RunConfig, device: torch.device) -> Precision:
    """The precision that networks run in, in this whole process."""
    precision = Precision(config.trainer.precision, device)
    precision.allow_tf32()
    return precision


def build_optimizer(config: RunConfig, method: Method) -> Optimizer:
    """One of torch's, over what the method trains."""
    return build(config.optimizer, OPTIMIZER, list(method.trainable_parameters()), context={}, path="optimizer")


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
        "mixing": build_combiner(config),
        "metrics": {name: metric.of_batch for name, metric in batch_metrics(config.recorded_metrics).items()},
        "log_expert_losses": config.loss.extras["return_expert_losses"],
        "give_expert_logits": config.add_extra_info,
    }


def drawn_prior(class_counts: list[int], *, balanced: bool) -> np.ndarray:
    """Class frequencies of the training images as they are drawn, [C]: as they are, or every class equally often."""
    counts = np.array(class_counts, np.float64)
    weights = (counts > 0).astype(np.float64) if balanced else counts
    return weights / weights.sum()


def build_criterion(config: RunConfig, context: Mapping[str, Any]) -> ExpertLoss:
    """The loss, given what it asks for."""
    return build(config.loss, LOSS, context=context, path="loss")


def build_combiner(config: RunConfig) -> Combiner:
    """How batches are mixed: `finetuning_combiner` takes over from `combiner` in its first epoch."""
    return Combiner(config.combiner, config.seed, config.finetuning_combiner)


def build_method(config: RunConfig, network: ExpertModel, context: Mapping[str, Any]) -> Method:
    """The method around a network, its loss on the network's device."""
    criterion = build_criterion(config, context).to(next(network.parameters()).device)
    return method_around(config, network, criterion, context)


def method_around(config: RunConfig, network: ExpertModel, criterion: ExpertLoss, context: Mapping[str, Any]) -> Method:
    """The method around a network, with this loss."""
    return build(config.method, METHOD, context={**context, "network": network, "criterion": criterion}, path="method")


def build_training_state(
    config: RunConfig, network: ExpertModel, context: Mapping[str, Any], device: torch.device
) -> TrainingState:
    """What training changes, at its beginning."""
    precision = build_precision(config, device)
    method = build_method(config, network, context)
    optimizer = build_optimizer(config, method)
    schedule = build_rate_schedule(
        config.lr_scheduler, optimizer, epochs=config.trainer.epochs, steps_per_epoch=context["steps_per_epoch"]
    )
    return TrainingState(method, optimizer, schedule, precision, RunningMeans(device), RunState())


def build_update_rule(config: RunConfig, state: TrainingState, context: Mapping[str, Any]) -> UpdateRule:
    """How gradients become an update."""
    own = {"network": state.method.network, "optimizer": state.optimizer, "precision": state.precision}
    return build(config.update_rule, UPDATE_RULE, context={**context, **own}, path="update_rule")


def build_engine(
    config: RunConfig, state: TrainingState, *, device: torch.device, distributed: DistributedContext
) -> Engine:
    """How a method runs on the devices there are; where `n_gpu` asks for more, each takes its shard in more parts."""
    options, n_gpu = config.trainer, config.n_gpu
    in_use = gpus_in_use(options.parallel, n_gpu, distributed)
    steps = options.accumulate_steps
    if steps is None:
        steps = max(-(-n_gpu // in_use), 1)
        if steps > 1:
            if options.replays_graphs:
                message = (
                    f"CUDA graphs don't take micro-batches, and n_gpu is {n_gpu} but {in_use} in use: set it to true"
                )
                raise ConfigError([Problem("trainer.compile", message)])
            text = "n_gpu is %d but %d in use: accumulating gradients over %d micro-batches"
            logger.info(text, n_gpu, in_use, steps)
    elif steps == "auto":
        steps = max(state.progress.accumulate_steps, 1)
    return Engine(
        state.method,
        state.precision,
        device=device,
        distributed=distributed,
        mode=options.parallel,
        n_gpu=n_gpu,
        accumulate_steps=steps,
    )


def build_trainer(
    config: RunConfig,
    *,
    parser: ConfigParser,
    loaders: Mapping[str, ImageDataLoader],
    device: torch.device,
    folder: RunFolder,
    resumed: Mapping[str, Any] | None,
    distributed: DistributedContext | None = None,
) -> Trainer:
    """Put a run together, and take it up where a checkpoint left it.

    Args:
        config: of the run.
        parser: the same as plain data; its `resume` is the checkpoint to continue from.
        loaders: of the images to train on, see `trainer.loaders.build_loaders`.
        device: to train on.
        folder: the run's folder.
        resumed: content of that checkpoint; with `resume_state_dict_only` the weights alone of another run's count.
        distributed: the processes that train; None: this one alone.
    """
    distributed = distributed or DistributedContext()
    loader, options = loaders["train"], config.trainer
    context = training_context(config, loader, distributed)
    network = _network_to_train(config, parser, device, resumed)
    if options.sync_batchnorm and distributed.group is not None and device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    state = build_training_state(config, network, context, device)
    if resumed is not None and _continues(config, parser, folder):
        go_on_from(resumed, parser, state, config.monitor)
    if not distributed.is_main:
        state.meters.reset()  # rank 0 goes on with what all had counted
    for each in loaders.values():
        each.prepare_views(state.method.views, device)
    return Trainer(
        method=state.method,
        engine=build_engine(config, state, device=device, distributed=distributed),
        update_rule=build_update_rule(config, state, context),
        optimizer=state.optimizer,
        schedule=state.schedule,
        loaders=loaders,
        validation_loader=loader.of_split("validation"),
        metrics=config.recorded_metrics,
        meters=state.meters,
        options=options,
        monitor=config.monitor,
        folder=folder,
        recorder=_recorder(config, parser, folder, state.progress) if distributed.is_main else SilentRecorder(),
        parts=state.parts,
        metadata=_metadata(config, parser, loader),
        state=state.progress,
        distributed=distributed,
    )


def _network_to_train(
    config: RunConfig, parser: ConfigParser, device: torch.device, resumed: Mapping[str, Any] | None
) -> ExpertModel:
    """The network with the weights that training begins or goes on with, frozen where it is not trained."""
    network = build_model(config, device)
    if resumed is None:
        initialise(config, network)
        return network
    assert parser.resume is not None
    load_weights(network, resumed["state_dict"], parser.resume)
    freeze(config, network)
    return network


def _continues(config: RunConfig, parser: ConfigParser, folder: RunFolder) -> bool:
    """Whether all of a checkpoint counts, not only its weights."""
    assert parser.resume is not None
    in_its_own_folder = parser.resume.parent.resolve() == folder.path.resolve()
    return in_its_own_folder or not config.resume_state_dict_only


def _recorder(config: RunConfig, parser: ConfigParser, folder: RunFolder, progress: RunState) -> Recorder:
    return Recorder(folder.path, first_epoch=progress.epoch + 1, wandb=config.trainer.wandb, config=parser.config)


def _metadata(config: RunConfig, parser: ConfigParser, loader: ImageDataLoader) -> dict[str, Any]:
    """What a checkpoint says of its run besides."""
    return {
        "arch": config.arch.type,
        "config": parser.config,
        "class_names": loader.class_names,
        "class_counts": loader.cls_num_list,
        "split_digests": loader.split_digests,
    }

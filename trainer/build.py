"""From a configuration to the parts of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

import data_loader.data_loaders as loaders
import model.loss
import model.metric
import model.model as networks
from base import BaseDataLoader, RunFolder, RunState, TrainerOptions
from data_loader.loader import ImageDataLoader
from model.experts import ExpertModel
from trainer.config.run_config import monitor_of, tau_list
from trainer.engine import schedules
from trainer.engine.parallel import Parallel, gpus_in_use
from trainer.engine.precision import Precision
from trainer.methods.mixing import Combiner, CombinerOptions, FinetuningCombinerOptions, MixupOptions
from trainer.trainer import Ingredients, Trainer
from utils.config.parser import ConfigParser
from utils.config.schema import fields_of
from utils.distributed.context import DistributedContext
from utils.files.checkpoint import CheckpointError, without_parallel_prefix
from utils.reporting.meters import RunningMeans
from utils.reporting.tensorboard import Recorder, SilentRecorder

logger = logging.getLogger(__name__)


def build_loader(config: ConfigParser, *, processes: int = 1) -> ImageDataLoader:
    """The loader of the training split (or whichever the configuration asks for), its data read.

    Args:
        config: validated.
        processes: of this run on this machine; `num_workers` is for all of them together.

    Raises:
        ConfigError: the network has another number of classes than the data.
        UserError: the data are missing or damaged.
    """
    loader = config.init_obj("data_loader", loaders, seed=config.get("seed", 1))
    expected = config["arch"]["args"]["num_classes"]
    if loader.num_classes != expected:
        config.fail(f"arch.args.num_classes: {expected} does not fit the data, which have {loader.num_classes} classes")
    loader.num_workers = -(-loader.num_workers // processes)
    return loader


def build_model(config: ConfigParser, device: torch.device) -> ExpertModel:
    """The network, its weights drawn from the run's seed."""
    torch.manual_seed(config.get("seed", 1))
    options = TrainerOptions(**config["trainer"])
    network = config.init_obj("arch", networks).to(
        device, memory_format=torch.channels_last if options.channels_last else torch.contiguous_format
    )
    network.backbone.checkpoints_activations = options.activation_checkpointing
    if options.compile:
        network.compile()
    return network


def build_precision(config: ConfigParser, device: torch.device) -> Precision:
    """The precision that networks run in, in this whole process."""
    precision = Precision(config["trainer"].get("precision", "tf32"), device)
    precision.allow_tf32()
    return precision


def build_parallel(
    network: ExpertModel,
    precision: Precision,
    options: TrainerOptions,
    *,
    n_gpu: int,
    device: torch.device,
    distributed: DistributedContext,
    found: int,
) -> Parallel:
    """How a network runs on the devices there are.

    Args:
        network: on `device`.
        precision: that it runs in.
        options: section `trainer`.
        n_gpu: GPUs that the configuration asks for; where there are fewer, each takes its share in more parts.
        device: this process's own.
        distributed: the processes that train.
        found: what "auto" found for `accumulate_steps` earlier in the run; 0: nothing.
    """
    in_use = gpus_in_use(options.parallel, n_gpu, distributed)
    steps = options.accumulate_steps
    if steps is None:
        steps = max(-(-n_gpu // in_use), 1)
        if steps > 1:
            logger.info("n_gpu is %d and %d at work: a share of a batch is taken in %d parts", n_gpu, in_use, steps)
    elif steps == "auto":
        steps = max(found, 1)
    return Parallel(
        network,
        precision,
        device=device,
        distributed=distributed,
        mode=options.parallel,
        n_gpu=n_gpu,
        accumulate_steps=steps,
    )


def build_schedule(config: ConfigParser, optimizer: Optimizer) -> LRScheduler:
    """The learning-rate schedule: one of ours or of torch's."""
    ours = config["lr_scheduler"]["type"] in schedules.__all__
    schedule = config.init_obj("lr_scheduler", schedules if ours else lr_scheduler, optimizer)
    # else torch takes a step that is left out, or was another process's, for a wrong order, and warns
    vars(optimizer)["_opt_called"] = True
    return schedule


def build_criterion(config: ConfigParser, class_counts: list[int]) -> nn.Module:
    """The loss, given what it asks for: training counts [C] and τ of each expert."""
    section = config["loss"]
    kind = getattr(model.loss, section["type"])
    arguments = dict(section.get("args", {}))
    if "tau_list" in arguments:
        arguments["tau_list"] = tau_list(config.config)
    if "cls_num_list" in fields_of(kind):
        arguments["cls_num_list"] = class_counts
    return kind(**arguments)


def build_combiner(config: ConfigParser) -> Callable[[int], Combiner]:
    """Epoch (from 1) → how its batches are mixed: `finetuning_combiner` replaces `combiner` from its first epoch on."""
    seed = config.get("seed", 1)
    combiner = Combiner(_combiner_options(config.get("combiner") or {}, CombinerOptions), seed)
    if not config.get("finetuning_combiner"):
        return lambda epoch: combiner
    options = _combiner_options(config["finetuning_combiner"], FinetuningCombinerOptions)
    finetuning = Combiner(options, seed)
    return lambda epoch: finetuning if epoch >= options.initial_epoch else combiner


def _combiner_options(section: Mapping[str, Any], kind: type) -> Any:
    return kind(**{**section, "mixup": MixupOptions(**section.get("mixup", {}))})


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


def load_weights(network: nn.Module, content: Mapping[str, Any], checkpoint: Path) -> None:
    """Put a checkpoint's weights into a network.

    Raises:
        CheckpointError: names or shapes differ; the line names the first few.
    """
    state = without_parallel_prefix(content["state_dict"])
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
        config: validated.
        loader: of the training split.
        device: to train on.
        folder: the run's folder.
        resumed: content of the checkpoint to continue from; with `resume_state_dict_only` the weights alone of another
            run's count.
        distributed: the processes that train; None: this one alone.
    """
    distributed, options = distributed or DistributedContext(), TrainerOptions(**config["trainer"])
    network = build_model(config, device)
    if options.sync_batchnorm and distributed.group is not None and device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    precision = build_precision(config, device)
    criterion = build_criterion(config, loader.cls_num_list).to(device)
    optimizer = config.init_obj("optimizer", torch.optim, network.parameters())
    schedule = build_schedule(config, optimizer)
    meters = RunningMeans(device)
    parts = {"optimizer": optimizer, "lr_scheduler": schedule, "criterion": criterion, "meters": meters}
    state = _resume(config, folder, resumed, network, {**parts, "precision": precision})
    if not distributed.is_main:
        meters.reset()  # rank 0 goes on with what all had counted
    n_gpu, found = config.get("n_gpu", 1), state.accumulate_steps
    return Trainer(
        Ingredients(
            model=network,
            parallel=build_parallel(
                network, precision, options, n_gpu=n_gpu, device=device, distributed=distributed, found=found
            ),
            precision=precision,
            criterion=criterion,
            optimizer=optimizer,
            schedule=schedule,
            train_loader=loader,
            valid_loader=loader.split_validation(),
            combiner_of=build_combiner(config),
            metrics={name: getattr(model.metric, name) for name in config.get("metrics", [])},
            give_expert_logits=config.get("add_extra_info", True),
            log_expert_losses=config["loss"].get("return_expert_losses", False),
            device=device,
            seed=config.get("seed", 1),
            meters=meters,
        ),
        options=options,
        monitor=monitor_of(config.config),
        folder=folder,
        recorder=_recorder(config, folder, state) if distributed.is_main else SilentRecorder(),
        facts={"arch": config["arch"]["type"], "config": config.config, "class_names": loader.class_names},
        state=state,
        distributed=distributed,
    )


def _recorder(config: ConfigParser, folder: RunFolder, state: RunState) -> Recorder:
    wandb = config["trainer"].get("wandb", False)
    return Recorder(folder.path, first_epoch=state.epoch + 1, wandb=wandb, config=config.config)


def _resume(
    config: ConfigParser,
    folder: RunFolder,
    resumed: Mapping[str, Any] | None,
    network: ExpertModel,
    parts: Mapping[str, Any],
) -> RunState:
    """Take up a checkpoint where there is one: all of it, or its weights for a new run; returns where it stood."""
    if resumed is None:
        return RunState()
    assert config.resume is not None
    load_weights(network, resumed, config.resume)
    in_its_own_folder = config.resume.parent.resolve() == folder.path.resolve()
    if config.get("resume_state_dict_only") and not in_its_own_folder:
        return RunState()
    return _continue_from(resumed, config.resume, parts)


def _continue_from(content: Mapping[str, Any], checkpoint: Path, parts: Mapping[str, Any]) -> RunState:
    """Load the parts of a run from a checkpoint; returns where it stood."""
    for name, part in parts.items():
        if name not in content:
            raise CheckpointError(
                f"{checkpoint}: holds no '{name}', so the run can't be continued exactly; "
                "set resume_state_dict_only=true to start a new run from its weights"
            )
        try:
            part.load_state_dict(content[name])
        except (ValueError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{checkpoint}: its '{name}' does not fit the configuration: {reason}") from None
    return RunState(**content["progress"])

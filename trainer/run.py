"""What `train.py` does once it knows its configuration, its device and the processes beside it."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from base import RunFolder
from base.batch_shards import groups
from base.run_folder import BEST_NAME
from data_loader.loader import ImageDataLoader
from trainer.build import build_trainer
from trainer.config.config_warnings import find_config_warnings
from trainer.config.run_config import RunConfig
from trainer.data_checks import find_data_warnings, how_sure, require_images, require_normalisable_batches
from trainer.engine.memory_fit import fit_memory
from trainer.engine.precision import slow_precision
from trainer.loaders import build_loaders, known_images
from trainer.run_folders import open_folder, read_resumed
from trainer.trainer import Trainer
from utils.config.parser import ConfigParser
from utils.distributed.context import DistributedContext
from utils.distributed.environment import LaunchEnvironment
from utils.errors import EarlyEnd, RunError
from utils.files.provenance import record_process
from utils.memory import lack_of_memory
from utils.reporting.logger import set_up_logging

logger = logging.getLogger(__name__)


def train_run(
    parser: ConfigParser,
    config: RunConfig,
    distributed: DistributedContext,
    device: torch.device,
    *,
    log_config: str | None = None,
) -> Path:
    """Build a run and train it; several processes do so together, and rank 0 reads and writes the run's folder.

    Returns the folder.

    Args:
        parser: the configuration as it is written into the run's folder.
        config: the same, typed.
        distributed: the processes that train.
        device: this process's own.
        log_config: file of a logging configuration, see `utils.reporting.logger.set_up_logging`.
    """
    with distributed.main_first():
        path, resumed = read_resumed(parser, distributed) if distributed.is_main else (None, None)
        known = known_images(parser, config, path, resumed)
    known = distributed.from_main(known)
    with distributed.main_first():
        loaders = build_loaders(config, processes=distributed.local_size, known=known)
        require_images(config, loaders["train"])
        keep_last = config.trainer.keep_last
        folder = open_folder(parser, path, keep_last=keep_last) if distributed.is_main else RunFolder(Path())
    folder.path, parser.resume, resumed = distributed.from_main((folder.path, parser.resume, resumed))
    with folder:
        if distributed.is_main:
            set_up_logging(verbosity(config, distributed), folder=folder.path, config_file=log_config)
            _introduce(config, loaders["train"], device, distributed)
            record_process(folder.path, device, config.seed, distributed)
        with _nothing_left_behind(folder if distributed.is_main and path is None else None), _lack_of_memory_told():
            if distributed.is_main:
                loaders["train"].freeze(folder.path)
            trainer = build_trainer(
                config,
                parser=parser,
                loaders=loaders,
                device=device,
                folder=folder,
                resumed=resumed,
                distributed=distributed,
            )
            parts = 1 if config.trainer.accumulate_steps == "auto" else trainer.engine.accumulate_steps
            require_normalisable_batches(config, loaders["train"], processes=distributed.size, parts=parts)
            if config.trainer.accumulate_steps == "auto":
                fit_memory(trainer)
        if trainer.state.epoch >= trainer.options.epochs:
            logger.info("All %d epochs are done; to train longer, set a larger --epochs.", trainer.options.epochs)
        with _lack_of_memory_told():
            trainer.train()
    if distributed.is_main:
        print(_saved_in_words(folder, trainer, loaders["train"], parser.resume))
    return folder.path


def verbosity(config: RunConfig, distributed: LaunchEnvironment) -> int:
    """How much a process says: what the configuration asks for in rank 0, warnings in the others."""
    return config.trainer.verbosity if distributed.is_main else 0


def _saved_in_words(folder: RunFolder, trainer: Trainer, loader: ImageDataLoader, resumed: Path | None) -> str:
    """Where a run lies and how to evaluate it, by its newest checkpoint, or the one it resumed where it wrote none."""
    newest = next(iter(folder.checkpoints()), resumed)
    best = folder.path / BEST_NAME
    sureness = how_sure(trainer.monitor.name, trainer.state.best_log, len(loader.splits["validation"]))
    or_best = f" (or the best epoch: {shlex.quote(str(best))}{sureness})" if best.is_file() else ""
    return f"Run saved to {folder.path}; evaluate with: python test.py -r {shlex.quote(str(newest))}{or_best}"


def _introduce(
    config: RunConfig, loader: ImageDataLoader, device: torch.device, distributed: DistributedContext
) -> None:
    """Log what is about to be trained, and what about it is surely not meant."""
    for problem in find_config_warnings(config, steps_per_epoch=len(loader), class_counts=loader.cls_num_list):
        logger.warning("warning: %s", problem)
    if config.trainer.validate and loader.validates_on_test_split:
        logger.warning(
            "warning: validating on the test split; to hold out training images instead, set "
            "data_loader.args.validation_split"
        )
    for told in find_data_warnings(loader, validates=config.trainer.validate):
        logger.warning("warning: %s", told)
    if config.trainer.sync_batchnorm and (device.type != "cuda" or distributed.group is None):
        logger.warning("warning: trainer.sync_batchnorm has no effect: it needs several processes on GPUs")
    if config.trainer.compile:
        logger.info("Compiling the network at the first step and the first validation; this takes minutes.")
    if advice := slow_precision(config.trainer.precision, device):
        logger.warning("warning: trainer.precision: %s", advice)
    shared_by = len(groups(loader.batch_size))
    if distributed.size > shared_by:
        logger.warning(
            "warning: a batch of %d images has %d groups, so some of the %d processes are idle; increase "
            "data_loader.args.batch_size",
            loader.batch_size,
            shared_by,
            distributed.size,
        )
    counts = loader.cls_num_list
    images = f"{sum(counts)} training images of {len(counts)} classes, {max(counts)} to {min(counts)} a class"
    processes = f", {distributed.size} processes" if distributed.size > 1 else ""
    logger.info("%s: %s, on %s%s", config.name, images, device, processes)


@contextmanager
def _nothing_left_behind(folder: RunFolder | None) -> Iterator[None]:
    """Around what may fail before anything is trained: a folder that was made for it goes with it."""
    try:
        yield
    except EarlyEnd:
        if folder is not None:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


@contextmanager
def _lack_of_memory_told() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not (asked := lack_of_memory(error)):
            raise
        raise RunError(
            f"out of memory ({asked}); try --accumulate_steps auto, --activation_checkpointing true, --precision bf16 "
            "or a smaller --batch_size; estimate the need with: python -m tools.estimate CONFIG"
        ) from None

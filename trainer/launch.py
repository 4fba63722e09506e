"""From a configuration that has been read to its run: checked, and in the processes and on the device it asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from trainer.config.run_config import RunConfig, run_config
from trainer.engine.engine import processes_to_start
from trainer.one_at_a_time import one_at_a_time
from trainer.report.automatic import report_by_itself
from trainer.run import train_run, verbosity
from utils.allocator import keep_freed_memory
from utils.config.parser import ConfigParser
from utils.config.schema_cache import cache_schema
from utils.distributed.context import process_group
from utils.distributed.device import choose_device
from utils.distributed.environment import LaunchEnvironment, report_once
from utils.distributed.launch import start_processes
from utils.late_compiler import import_compiler_late
from utils.reporting.logger import set_up_logging
from utils.reporting.tensorboard import require_wandb


def launch(
    main: Callable[[], object],
    parser: ConfigParser,
    environment: LaunchEnvironment,
    *,
    log_config: str | None,
    beforehand: Callable[[RunConfig, torch.device], object] | None = None,
    afterwards: Callable[[Path], object] | None = None,
) -> int:
    """Check the configuration; train here, or start a process for each GPU.

    Args:
        main: what such a process runs; it comes here again.
        parser: the configuration.
        environment: the processes as they were launched.
        log_config: file of a logging configuration, see `utils.reporting.logger.set_up_logging`.
        beforehand: what each process that trains does first, told the configuration and its device; one that only
            starts others doesn't.
        afterwards: what each process does with the run's folder once it has been trained; by default the first one
            writes its report, where the configuration asks for it.

    Returns:
        the exit code.
    """
    import_compiler_late()
    with report_once(environment):
        cache_schema(RunConfig)
        config = run_config(parser)
        parser.config["seed"] = config.seed  # the run's folder says it, whether it was given or not
    processes = processes_to_start(config.trainer.parallel, config.n_gpu, environment)
    if processes:
        return start_processes(main, processes)
    with report_once(environment):
        set_up_logging(verbosity(config, environment), config_file=log_config)
        device = choose_device(config.n_gpu, environment)
        if device.type == "cpu":
            keep_freed_memory()
        if config.trainer.wandb:
            require_wandb()
    if beforehand is not None:
        beforehand(config, device)
    with process_group(environment, device) as distributed, one_at_a_time(parser, distributed):
        folder = train_run(parser, config, distributed, device, log_config=log_config)
    if afterwards is not None:
        afterwards(folder)
    elif distributed.is_main and config.trainer.report:
        report_by_itself(folder)
    return 0

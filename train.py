"""Train a network: `python train.py -c CONFIG`, or continue one: `python train.py -r CHECKPOINT`."""

from __future__ import annotations

import argparse
import sys

from trainer.config.run_config import run_config
from trainer.engine.engine import processes_to_start
from trainer.run import train_run, verbosity
from utils.config.command_line import script_parser
from utils.config.overrides import add_override_flags
from utils.config.parser import ConfigParser
from utils.distributed.context import launch_environment, process_group, report_once
from utils.distributed.device import choose_device, set_visible_gpus
from utils.distributed.launch import start_processes
from utils.errors import run_main
from utils.reporting.logger import set_up_logging
from utils.reporting.tensorboard import require_wandb

RESUME = "checkpoint to resume from; auto: the newest of this configuration's runs, or a new run where there is none"
EXAMPLES = """  python train.py -c configs/digits/config_digits_ir40_bs-experts.json --val
  python train.py -c configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json --seed 1 --num_experts 7
  python train.py -c configs/digits/config_digits_ir40_bs-experts.json -r auto"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this script."""
    parser = script_parser("Train a network on a long-tailed data set, or continue a run.", EXAMPLES, resume=RESUME)
    add_override_flags(parser)
    return parser


def main() -> None:
    """Parse and check; train here, or start a process for each GPU, which comes here again."""
    arguments = build_parser().parse_args()
    environment = launch_environment()
    with report_once(environment):
        parser = ConfigParser.from_args(arguments)
        config = run_config(parser)
        parser.config["seed"] = config.seed  # the run's folder says it, whether it was given or not
        set_visible_gpus(arguments.device)
    processes = processes_to_start(config.trainer.parallel, config.n_gpu, environment)
    if processes:
        sys.exit(start_processes(main, processes))
    with report_once(environment):
        set_up_logging(verbosity(config, environment), config_file=arguments.log_config)
        device = choose_device(config.n_gpu, environment)
        if config.trainer.wandb:
            require_wandb()
    with process_group(environment, device) as distributed:
        train_run(parser, config, distributed, device, log_config=arguments.log_config)


if __name__ == "__main__":
    run_main(main)

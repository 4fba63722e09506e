"""Train a network: `python train.py -c CONFIG`, or continue one: `python train.py -r CHECKPOINT`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from trainer.build import build_loader, build_trainer
from trainer.recipe import find_problems
from utils.checkpoint import load_checkpoint
from utils.command_line import script_parser
from utils.config import CONFIG_NAME, ConfigParser, read_json
from utils.device import choose_device
from utils.errors import run_main
from utils.logger import set_up_logging
from utils.overrides import add_override_flags

EXAMPLES = """  python train.py -c configs/digits/config_digits_ir40_bs-experts.json --val
  python train.py -c configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json --seed 1 --num_experts 7"""

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """All flags of this script."""
    parser = script_parser("Train a network on a long-tailed data set, or continue a run.", EXAMPLES)
    add_override_flags(parser)
    return parser


def run_folder(config: ConfigParser) -> Path:
    """The folder of a run: the checkpoint's own where it is continued as it was, else a new one."""
    if config.resume is not None and not config.get("resume_state_dict_only"):
        beside = config.resume.parent / CONFIG_NAME
        if beside.is_file() and read_json(beside) == config.config:
            return config.resume.parent
    return config.make_run_folder()


def main() -> None:
    """Parse, build, train."""
    arguments = build_parser().parse_args()
    config = ConfigParser.from_args(arguments)
    config.validate(find_problems)
    config.config.setdefault("seed", 1)
    set_up_logging(config["trainer"].get("verbosity", 2), config_file=arguments.log_config)
    device = choose_device(config.get("n_gpu", 1), arguments.device)
    resumed = load_checkpoint(config.resume) if config.resume else None
    loader = build_loader(config)
    folder = run_folder(config)
    set_up_logging(config["trainer"].get("verbosity", 2), folder=folder, config_file=arguments.log_config)
    counts = loader.cls_num_list
    images = f"{sum(counts)} training images of {len(counts)} classes, {max(counts)} to {min(counts)} a class"
    logger.info("%s: %s, on %s", config["name"], images, device)
    trainer = build_trainer(config, loader=loader, device=device, folder=folder, resumed=resumed)
    trainer.train()
    print(f"The run lies in {folder}; next: python test.py -r {folder}/checkpoint-epoch{trainer.state.epoch}.pth")


if __name__ == "__main__":
    run_main(main)

"""Train a network: `python train.py -c CONFIG`, or continue one: `python train.py -r CHECKPOINT`."""

from __future__ import annotations

import argparse
import logging

from trainer.build import build_loader, build_trainer
from trainer.doubts import find_doubts
from trainer.recipe import find_problems
from trainer.run_folders import open_folder, read_resumed
from utils.command_line import script_parser
from utils.config import ConfigParser
from utils.device import choose_device
from utils.errors import run_main
from utils.logger import set_up_logging
from utils.overrides import add_override_flags
from utils.provenance import record_process
from utils.tensorboard import require_wandb

EXAMPLES = """  python train.py -c configs/digits/config_digits_ir40_bs-experts.json --val
  python train.py -c configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json --seed 1 --num_experts 7"""

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """All flags of this script."""
    parser = script_parser("Train a network on a long-tailed data set, or continue a run.", EXAMPLES)
    add_override_flags(parser)
    return parser


def main() -> None:
    """Parse, build, train."""
    arguments = build_parser().parse_args()
    config = ConfigParser.from_args(arguments)
    config.config.setdefault("seed", 1)
    config.validate(find_problems)
    verbosity = config["trainer"].get("verbosity", 2)
    set_up_logging(verbosity, config_file=arguments.log_config)
    device = choose_device(config.get("n_gpu", 1), arguments.device)
    if config["trainer"].get("wandb"):
        require_wandb()
    path, resumed = read_resumed(config)
    loader = build_loader(config)
    with open_folder(config, path) as folder:
        set_up_logging(verbosity, folder=folder.path, config_file=arguments.log_config)
        for doubt in find_doubts(config.config):
            logger.warning("warning: %s", doubt)
        if config["trainer"].get("validate") and loader.validates_on_test_split:
            logger.warning("warning: validation on the test split; data_loader.args.validation_split holds out images")
        counts = loader.cls_num_list
        images = f"{sum(counts)} training images of {len(counts)} classes, {max(counts)} to {min(counts)} a class"
        logger.info("%s: %s, on %s", config["name"], images, device)
        trainer = build_trainer(config, loader=loader, device=device, folder=folder, resumed=resumed)
        record_process(folder.path, device, config["seed"])
        trainer.train()
        newest = next(iter(folder.checkpoints()), config.resume)
    print(f"The run lies in {folder.path}; next: python test.py -r {newest}")


if __name__ == "__main__":
    run_main(main)

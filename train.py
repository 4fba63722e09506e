"""Train a network: `python train.py -c CONFIG`, on own images: `--images FOLDER`, or continue one: `-r CHECKPOINT`."""

from __future__ import annotations

import argparse
import sys

from trainer.many_runs.combinations import combinations
from trainer.many_runs.flags import add_flags as add_flags_of_several
from trainer.many_runs.flags import asked_for
from trainer.own_images.flags import add_flags, names_images
from trainer.pretrained import add_flag, with_pretrained
from utils.config.command_line import add_section_help, script_parser
from utils.config.overrides import add_override_flags
from utils.config.parser import ConfigParser
from utils.config.schema_cache import cached_problems
from utils.distributed.environment import launch_environment, report_once, set_visible_gpus
from utils.errors import run_main
from utils.slow_imports import slow_imports

RESUME = "checkpoint to resume from; auto: the newest of this configuration's runs, or a new run where there is none"
SECTIONS = {
    **{"arch": "networks", "data_loader": "data sets", "optimizer": "optimisers", "lr_scheduler": "schedules"},
    **{"loss": "losses", "method": "methods", "update_rule": "update rules", "metrics": "names of metrics"},
    **{"trainer": "length, precision, checkpoints", "combiner": "mixing", "finetuning_combiner": "mixing later on"},
    "initialise": "weights to start from",
}
EXAMPLES = """  python train.py --images my_images
  python train.py --images my_images --pretrained
  python train.py -c configs/digits/config_digits_ir40_bs-experts.json --val
  python train.py -c configs/mixup/standard_training/config_cifar100_ir100_bs-experts.json --seed 1 --num_experts 7
  python train.py -c configs/digits/config_digits_ir40_bs-experts.json -r auto
  python train.py -c configs/digits/config_digits_ir40_bs-experts.json --seed 1 2 3 --sweep optimizer.args.lr=0.05,0.1
  python train.py --help loss"""


def build_parser() -> argparse.ArgumentParser:
    """All flags of this script."""
    what = "Train a network on a long-tailed data set, or continue a run."
    parser = script_parser(what, EXAMPLES, resume=RESUME, own_help=True)
    add_section_help(parser, SECTIONS, explain)
    add_flags(parser)
    add_flag(parser)
    add_flags_of_several(parser)
    add_override_flags(parser)
    return parser


def explain(section: str) -> str:
    """What a section of the configuration may hold."""
    with slow_imports():
        from trainer.config.run_config import RunConfig  # noqa: PLC0415 - takes seconds
        from utils.config.section_help import section_help  # noqa: PLC0415
    return section_help(section, RunConfig)


def main() -> None:
    """Parse the flags and read the configuration, then train; each process that this starts comes here again."""
    arguments = build_parser().parse_args()
    environment = launch_environment()
    with report_once(environment):
        asked = asked_for(arguments, environment)
        several = combinations(arguments, asked) if asked is not None else []
        one = not (asked or names_images(arguments))
        parser = with_pretrained(ConfigParser.from_args(arguments), arguments) if one else None
        for configuration in [parser] if parser is not None else [combination.parser for combination in several]:
            configuration.validate(cached_problems)
        set_visible_gpus(arguments.device)
    if asked is not None:
        with slow_imports():
            from trainer.many_runs.command import train_several  # noqa: PLC0415 - takes seconds
        sys.exit(train_several(several, asked, log_config=arguments.log_config))
    if parser is None:
        with slow_imports():
            from trainer.own_images.command import train_on_images  # noqa: PLC0415 - takes seconds
        sys.exit(train_on_images(main, arguments, environment))
    with slow_imports():
        from trainer.launch import launch  # noqa: PLC0415 - takes seconds; mistakes until here are told without it
    sys.exit(launch(main, parser, environment, log_config=arguments.log_config))


if __name__ == "__main__":
    run_main(main)

"""The flags that the commands about one checkpoint have in common."""

from __future__ import annotations

import argparse

from utils.config.command_line import tool_parser
from utils.config.parser import ConfigParser
from utils.distributed.environment import LaunchEnvironment, launch_environment, report_once, set_visible_gpus


def checkpoint_parser(
    program: str, usage: str, document: str | None, examples: str, *, checkpoint: str = "the checkpoint"
) -> argparse.ArgumentParser:
    """A parser with the argument CHECKPOINT and -c.

    Args:
        program, usage, document, examples: see `utils.config.command_line.tool_parser`.
        checkpoint: what CHECKPOINT is.
    """
    parser = tool_parser(program, usage, document, examples)
    parser.add_argument("resume", metavar="CHECKPOINT", help=f"{checkpoint}; its config.json lies beside it")
    parser.add_argument("-c", "--config", metavar="FILE", help="an edited copy of that config.json")
    return parser


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """-d and -l, of commands that read a run's data and may use its GPUs."""
    parser.add_argument("-d", "--device", metavar="GPUS", help="GPU indices, as in CUDA_VISIBLE_DEVICES: 0 or 0,1")
    parser.add_argument(
        "-l", "--log-config", metavar="FILE", help="logging configuration (JSON, logging.config's form)"
    )


def read_run(arguments: argparse.Namespace) -> tuple[ConfigParser, LaunchEnvironment]:
    """What the flags -c, -d and the checkpoint name: its configuration, and the processes as they were launched.

    Raises:
        UserError: there is no configuration, or it can't be read, or -d has no indices of GPUs; one process tells it.
    """
    environment = launch_environment()
    with report_once(environment):
        parser = ConfigParser.from_args(arguments)
        set_visible_gpus(arguments.device)
    return parser, environment


def add_weights_flag(parser: argparse.ArgumentParser) -> None:
    """--weights."""
    parser.add_argument(
        "--weights", default="raw", metavar="NAME", help="raw (default), or averaged, where the method averages weights"
    )

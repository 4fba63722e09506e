"""The flags that the scripts have in common."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from utils.errors import EXIT_USER_ERROR


class OneLineParser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line, as the rest of the program does."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        print(f"error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)


def script_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser with the flags of every script: -c, -r, -d, -l."""
    parser = OneLineParser(
        usage="%(prog)s [-c FILE] [-r CHECKPOINT] [flags]",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("what and where")
    group.add_argument("-c", "--config", metavar="FILE", help="configuration (JSON); default: beside the checkpoint")
    group.add_argument("-r", "--resume", metavar="CHECKPOINT", help="checkpoint to continue from or to evaluate")
    group.add_argument("-d", "--device", metavar="GPUS", help="GPU indices, as in CUDA_VISIBLE_DEVICES: 0 or 0,1")
    group.add_argument("-l", "--log-config", metavar="FILE", help="logging configuration (JSON, logging.config's form)")
    return parser

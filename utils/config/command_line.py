"""The flags that the scripts have in common."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NoReturn

from utils.errors import EXIT_USER_ERROR, nearest


class OneLineParser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line, as the rest of the program does."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it; a flag that there isn't gets the nearest that there is."""
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = next((text.partition("=")[0] for text in unknown if text.startswith("-")), "")
            known = [text.removeprefix("--") for text in self._option_string_actions if text.startswith("--")]
            hint = nearest(flag.lstrip("-"), known).replace("'", "'--", 1)  # dashes in common are no resemblance
            for letter, suffix in (("-c", ".json"), ("-r", ".pth")):
                if letter in self._option_string_actions and unknown[0].endswith(suffix) and not flag:
                    hint = f"; did you mean '{letter} {unknown[0]}'?"
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return arguments

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        print(f"error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)


def positive_integer(text: str) -> int:
    """A flag's value, 1 or more."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more; got {text!r}")
    return value


def positive_number(text: str) -> float:
    """A flag's value, above 0 and finite."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text!r}")
    return value


def script_parser(
    description: str, examples: str, *, resume: str = "checkpoint to evaluate"
) -> argparse.ArgumentParser:
    """A parser with the flags of every script: -c, -r (whose help is `resume`), -d, -l."""
    parser = OneLineParser(
        usage="%(prog)s [-c FILE] [-r CHECKPOINT] [flags]",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("what and where")
    group.add_argument("-c", "--config", metavar="FILE", help="configuration (JSON); default: beside the checkpoint")
    group.add_argument("-r", "--resume", metavar="CHECKPOINT", help=resume)
    group.add_argument("-d", "--device", metavar="GPUS", help="GPU indices, as in CUDA_VISIBLE_DEVICES: 0 or 0,1")
    group.add_argument("-l", "--log-config", metavar="FILE", help="logging configuration (JSON, logging.config's form)")
    return parser

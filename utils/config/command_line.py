"""The flags that the scripts have in common."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
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


class _SectionHelp(argparse.Action):
    """`--help` prints the parser's own help, `--help SECTION` what `explain` says of the section."""

    def __init__(self, *args: Any, explain: Callable[[str], str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explain = explain

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        print(parser.format_help() if values is None else f"{self.explain(values)}\n", end="")
        parser.exit()


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


def tool_parser(program: str, usage: str, document: str | None, examples: str) -> argparse.ArgumentParser:
    """The parser of `python -m PROGRAM`, without flags yet.

    Args:
        program: the module's name: "tools.predict".
        usage: what follows the command.
        document: the module's own: its first paragraph says what the command does.
        examples: command lines, and what else stands below the flags.
    """
    what, _, how = (document or "").partition("\n\n")
    return OneLineParser(
        prog=f"python -m {program}",
        usage=f"%(prog)s {usage}",
        description=f"{what}\n\n{how.strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=examples,
        allow_abbrev=False,
    )


def script_parser(
    description: str,
    examples: str,
    *,
    resume: str = "checkpoint to evaluate",
    columns: str = "",
    own_help: bool = False,
) -> argparse.ArgumentParser:
    """A parser with the flags of every script: -c, -r (whose help is `resume`), -d, -l.

    Args:
        description: what the script does.
        examples: command lines.
        resume: what -r names.
        columns: what the columns of the script's table mean.
        own_help: the script adds --help itself, see `add_section_help`.
    """
    parser = OneLineParser(
        usage="%(prog)s [-c FILE] [-r CHECKPOINT] [flags]",
        description=description,
        epilog=f"{columns}examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=not own_help,
    )
    group = parser.add_argument_group("what and where")
    group.add_argument("-c", "--config", metavar="FILE", help="configuration (JSON); default: beside the checkpoint")
    group.add_argument("-r", "--resume", metavar="CHECKPOINT", help=resume)
    group.add_argument("-d", "--device", metavar="GPUS", help="GPU indices, as in CUDA_VISIBLE_DEVICES: 0 or 0,1")
    group.add_argument("-l", "--log-config", metavar="FILE", help="logging configuration (JSON, logging.config's form)")
    return parser


def add_section_help(
    parser: argparse.ArgumentParser, sections: Mapping[str, str], explain: Callable[[str], str]
) -> None:
    """`-h`, `--help`, and `--help SECTION`.

    Args:
        parser: that has no help yet.
        sections: name → what it is about.
        explain: the text about a section.
    """
    named = ", ".join(f"{name} ({about})" for name, about in sections.items())
    text = f"print this text; or what SECTION may hold, types with their arguments and defaults: {named}"
    parser.add_argument(
        "-h",
        "--help",
        action=_SectionHelp,
        nargs="?",
        explain=explain,
        metavar="SECTION",
        choices=tuple(sections),
        default=argparse.SUPPRESS,
        help=text,
    )

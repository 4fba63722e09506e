"""The flag `--pretrained` of train.py: weights to start from, by one word; nothing here needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.published_weights import MODELS, PUBLISHED, TIMM, TORCHVISION, architecture_of, published_weights
from utils.config.parser import ConfigParser
from utils.errors import UserError, nearest
from utils.files.reading import regular_file

FLAG = "--pretrained"
KEY = "initialise.checkpoint"


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Give train.py's parser `--pretrained`."""
    group = parser.add_argument_group("weights that were trained on other images")
    group.add_argument(
        FLAG,
        nargs="?",
        const="",
        metavar="NAME|FILE",
        help="start from torchvision's weights of this network, which it downloads; or from those of a NAME "
        f"({', '.join(MODELS)}); or from a FILE of a state dict by torchvision's names [{KEY}]",
    )


def wanted_source(arguments: argparse.Namespace) -> str | None:
    """What is asked for: None: nothing; "": whatever fits the network; else a value for `initialise.checkpoint`.

    Raises:
        UserError: no such file or name, or `--initialise` besides.
    """
    given: str | None = arguments.pretrained
    if given is None:
        return None
    if arguments.initialise is not None:
        raise UserError(f"{FLAG} and --initialise both name the weights to start from; leave out one")
    if not given:
        return ""
    if (source := published_weights(given)) is not None:
        return source
    names = f"torchvision's weights of networks like ours are {', '.join(MODELS)}{nearest(given, MODELS)}"
    if given.startswith(TORCHVISION):
        raise UserError(f"{FLAG} {given}: {names}")
    regular_file(Path(given), "file of weights", if_missing=f" (given by {FLAG}); {names}")
    return given


def source_for(architecture: str, wanted: str, *, model_name: str = "") -> str:
    """The value of `initialise.checkpoint` for a network.

    Args:
        architecture: its `arch.type`.
        wanted: what `wanted_source` returned.
        model_name: what timm calls it, of a TimmModel.

    Raises:
        UserError: there are no such weights, or they are another network's.
    """
    if not wanted:
        if architecture == "TimmModel" and model_name:
            return TIMM + model_name
        if architecture not in PUBLISHED:
            raise UserError(
                f"{FLAG}: torchvision publishes no weights of a {architecture}; set arch.type to one of "
                f"{', '.join(PUBLISHED)}, or name a file: {FLAG} FILE"
            )
        return TORCHVISION + PUBLISHED[architecture]
    if wanted.startswith(TORCHVISION) and architecture_of(wanted) != architecture:
        raise UserError(
            f"{FLAG}: {wanted} are weights of a {architecture_of(wanted)}, and arch.type is {architecture}; "
            f"{FLAG} without a name takes those that fit"
        )
    return wanted


def with_pretrained(parser: ConfigParser, arguments: argparse.Namespace) -> ConfigParser:
    """A configuration that was read, with the weights that the flag asks for written into it."""
    wanted = wanted_source(arguments)
    if wanted is not None:
        section = parser.get("arch")
        architecture = section.get("type") if isinstance(section, dict) else None
        if isinstance(architecture, str):  # what else is there is refused with everything else that is wrong
            args = section.get("args")
            name = args.get("model_name") if isinstance(args, dict) else None
            parser.override(KEY, source_for(architecture, wanted, model_name=str(name or "")), FLAG)
    return parser

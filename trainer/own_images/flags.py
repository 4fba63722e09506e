"""The flag `--images` of train.py, and what is wrong with its folder as far as that shows without PyTorch."""

from __future__ import annotations

import argparse

from data_loader.datasets.class_folders import require_class_folders
from utils.errors import UserError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give train.py's parser `--images`."""
    group = parser.add_argument_group("your own images, without a configuration")
    group.add_argument(
        "--images",
        metavar="FOLDER",
        help="a folder for each class in it: looks at the images, chooses a configuration and says why, trains, "
        "evaluates, and says which classes are weak; all other flags but -c and -r may be given with it",
    )


def names_images(arguments: argparse.Namespace) -> bool:
    """Whether `--images` was given.

    Raises:
        UserError: with -c or -r besides, or its folder can't be one of classes.
    """
    if arguments.images is None:
        return False
    for given, flag in ((arguments.config, "-c"), (arguments.resume, "-r")):
        if given is not None:
            raise UserError(
                f"--images chooses a configuration for a new run; leave out {flag}, or --images (each run keeps its "
                "config.json: python train.py -c RUN/config.json, or -r RUN/CHECKPOINT)"
            )
    require_class_folders(arguments.images)
    return True

"""Decode and shrink the images to train on once, so that every epoch reads them many times as fast.

    python -m data_loader.cache CONFIG --folder data/cache

keeps each image to train on with its shorter side brought down to 256 pixels (--side), as a JPEG of quality 95 or as
raw pixels (--format), all in one file. Train from it with the keys that the command prints at its end:

    python train.py -c CONFIG --set data_loader.args.cache=data/cache

or write them into the configuration: data_loader.args.cache, cache_side, cache_format. Without flags the command goes
by these keys, those of the further `loaders` included.

What changes: random crops are cut out of the smaller image, so that small ones are less sharp than out of the file; a
JPEG that had to be shrunk has lost a little more. Images to evaluate on are read from their files in any case. Images
that are small already are kept as they are.

The same command finishes a build that was stopped or killed, and mends a cache that is damaged or whose images have
changed: what is as it should be is kept. Exit codes: 0 all images are in the cache; 1 some are not, since they can't be
read, and the first are named (training treats them as without a cache); 2 it could not be built.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import data_loader.data_loaders as module_data
from base import BaseDataLoader
from data_loader.cache.building import Built, build_cache
from data_loader.cache.layout import Format
from data_loader.file_loader import FileDataLoader
from utils.config.command_line import OneLineParser, positive_integer
from utils.config.components import Component
from utils.config.parser import ConfigParser
from utils.config.schema import problems
from utils.config.sections import Section, build
from utils.errors import UserError, printable, run_main

_LOADER = Component((module_data,), base=BaseDataLoader, injected=frozenset({"seed"}))
_SHOWN = 10  # lines
_KEYS = {
    "folder": "cache",
    "side": "cache_side",
    "format": "cache_format",
    "data_dir": "data_dir",
    "reduced_decoding": "reduced_decoding",
}
"""Flag → argument of the loader."""


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m data_loader.cache", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG", help="a run's configuration (JSON)")
    add("--folder", metavar="DIR", help="where the cache lies, instead of data_loader.args.cache")
    add("--side", type=positive_integer, metavar="PIXELS", help="instead of data_loader.args.cache_side; default: 256")
    add("--format", choices=get_args(Format), help="instead of data_loader.args.cache_format; default: jpeg")
    add("--data_dir", metavar="DIR", help="instead of data_loader.args.data_dir")
    add("--reduced_decoding", action="store_const", const=True, help="sets data_loader.args.reduced_decoding")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; default: all cores")
    return parser


def main() -> None:
    """Build what the configuration and the flags ask for; end with 1 if an image is not in a cache."""
    arguments = vars(_parser().parse_args())
    overrides = {
        f"data_loader.args.{key}": (arguments[flag], f"--{flag}")
        for flag, key in _KEYS.items()
        if arguments[flag] is not None
    }
    config = ConfigParser.from_file(arguments["config"], overrides=overrides)
    left_out = 0
    for path, loader in _cached_loaders(config):
        built = build_cache(loader, workers=max(arguments["workers"], 0))
        left_out += len(built.reasons)
        print(_told(loader, built))
        for line in built.reasons[:_SHOWN]:
            print(f"  {printable(line)}")
        keys = {"cache": loader.cache, "cache_side": loader.cache_side, "cache_format": loader.cache_format}
        keys |= {"reduced_decoding": "true"} if loader.reduced_decoding else {}
        settings = (shlex.quote(f"{path}.args.{key}={value}") for key, value in keys.items())
        print(f"train from it with {' '.join(f'--set {setting}' for setting in settings)}")
    if left_out:
        sys.exit(1)


def _told(loader: FileDataLoader, built: Built) -> str:
    """What has been built, in a line."""
    told = f"{built.stored:,} of {built.images:,} images, {built.bytes / 1e9:.2f} GB"
    before = f"; {built.kept:,} of them were there and are as they should be" if built.kept else ""
    return f"{built.path}: {told} ({loader.cache_kind}){before}"


def _cached_loaders(config: ConfigParser) -> Iterator[tuple[str, FileDataLoader]]:
    """Each loader of a configuration that has a cache, with the path of its section; checked first.

    Raises:
        ConfigError: a section is wrong.
        UserError: none has a cache.
    """
    further = config.config.get("loaders")
    sections: dict[str, Any] = {"data_loader": config.config.get("data_loader")}
    sections |= {f"loaders.{name}": content for name, content in further.items()} if isinstance(further, dict) else {}
    config.validate(
        lambda _: [problem for path in sections for problem in problems(sections[path], Annotated[dict, _LOADER], path)]
    )
    found = False
    for path, content in sections.items():
        section = Section(content["type"], content.get("args", {}), origins=config.origins)
        loader = build(section, _LOADER, context={}, path=path)
        if isinstance(loader, FileDataLoader) and loader.cache is not None:
            found = True
            yield path, loader
    if not found:
        raise UserError(f"{config.source}: names no folder for a cache: give --folder, or set data_loader.args.cache")


if __name__ == "__main__":
    run_main(main)

"""Before a run of days: opens every image of a configuration, lists those that can't be read, and says what all are.

    python -m data_loader.check configs/mixup/standard_training/config_imagenet_lt_resnet50_bs-experts.json

Finds missing, empty, truncated and undecodable images, what is no file, images that are in two splits, lists without
images, list lines without a path or with a label out of range, and training images that are the test images, which
training refuses in the same words; tells the images' modes and depths, which will be nearly black, and, as training
does, which classes have no images.
What is wrong goes into a file, one line each: the image or list line, a tab, the reason. Exit codes: 0 all is good,
1 something is wrong, 2 the configuration or a list can't be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import data_loader.data_loaders as module_data
from base import BaseDataLoader
from data_loader.class_remarks import class_remarks
from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.folder_walk import skipped_files_line
from data_loader.file_loader import FileDataLoader
from data_loader.image_survey import kind_lines, shared_images, survey
from data_loader.loader import ImageDataLoader
from data_loader.test_images import training_on_test_images
from utils.config.command_line import OneLineParser
from utils.config.parser import ConfigParser
from utils.config.schema import Component, problems
from utils.errors import ConfigError, Problem, printable, run_main
from utils.files.writing import write_text

_SHOWN = 10  # lines on the screen; the file has all


def build_loader(config: ConfigParser) -> Any:
    """The loader that a configuration's `data_loader` section describes, checked first."""
    section = Annotated[dict, Component((module_data,), base=BaseDataLoader, injected=frozenset({"seed"}))]
    if "data_loader" not in config.config:
        raise ConfigError([Problem("data_loader", f"is missing (in {config.source})")])
    config.validate(lambda content: problems(content["data_loader"], section, "data_loader"))
    return config.init_obj("data_loader", module_data)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m data_loader.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a run's configuration (JSON)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; default: all cores"
    )
    parser.add_argument("--data_dir", metavar="DIR", help="instead of the configuration's data_loader.args.data_dir")
    parser.add_argument(
        "--out", type=Path, default=Path("bad_images.txt"), metavar="FILE", help="default: bad_images.txt"
    )
    return parser


def main() -> None:
    """Check what the configuration names; end with 1 if something is wrong."""
    arguments = _parser().parse_args()
    overrides = {"data_loader.args.data_dir": (arguments.data_dir, "--data_dir")} if arguments.data_dir else {}
    config = ConfigParser.from_file(arguments.config, overrides=overrides)
    loader = build_loader(config)
    if not isinstance(loader, FileDataLoader):
        counts = [len(loader.splits[name]) for name in ("train", "test")]
        print(f"{counts[0]:,} training and {counts[1]:,} test images are held in memory and could be read")
        _write(_refusals(loader), arguments.out)
        return
    files = loader.inventory()
    paths = list(dict.fromkeys(path for split in files.by_split.values() for path in split))
    findings = survey(paths, loader.reader, workers=max(arguments.workers, 0))
    bad = {path: finding.reason for path, finding in findings.items() if finding.reason}
    shared = shared_images(files.by_split, findings)
    wrong = f"{len(files.bad_lines):,} list line{' is' if len(files.bad_lines) == 1 else 's are'} wrong"
    print(f"{len(paths):,} image{'s' * (len(paths) != 1)} checked: {len(bad):,} can't be read; {wrong}")
    for line in kind_lines(list(findings.values()), loader.value_range):
        print(line)
    if isinstance(loader, ImageFolderDataLoader) and loader.skipped_files:
        print(skipped_files_line(loader.skipped_files))
    if not files.bad_lines:
        for remark in class_remarks(loader):
            print(f"warning: {remark}")
    if shared:
        print(f"{len(shared):,} image{' is' if len(shared) == 1 else 's are'} in two splits")
    reasons = [f"{printable(path)}\t{printable(reason)}" for path, reason in (*bad.items(), *shared.items())]
    wrong_lines = [line.replace(": ", "\t", 1) for line in files.bad_lines] or _refusals(loader)
    _write([*wrong_lines, *reasons], arguments.out)


def _refusals(loader: ImageDataLoader) -> list[str]:
    """Why training refuses a data set whose files can be read."""
    problem = training_on_test_images(loader)
    return [f"{problem.path}\t{problem.message}"] if problem else []


def _write(lines: list[str], out: Path) -> None:
    """Show some lines and write them all; end with 1 if there are any."""
    if not lines:
        return
    for line in lines[:_SHOWN]:
        print("  " + line.replace("\t", ": "))
    write_text(out, "".join(f"{line}\n" for line in lines))
    print(f"{out}: all {len(lines):,}")
    sys.exit(1)


if __name__ == "__main__":
    run_main(main)

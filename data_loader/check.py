"""Before a run of days: opens every image of a configuration and lists those that can't be read.

    python -m data_loader.check configs/mixup/standard_training/config_imagenet_lt_resnet50_bs-experts.json

Finds missing, empty, truncated and undecodable images, lists without images, and list lines without a path or with a
label out of range; training refuses them in the same words. Classes without images are warned of, as by training.
What is wrong goes into a file, one line each: the image or list line, a tab, the reason. Exit codes: 0 all is good,
1 something is wrong, 2 the configuration or a list can't be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from torch.utils.data import DataLoader, Dataset

import data_loader.data_loaders as module_data
from base import BaseDataLoader
from data_loader.class_remarks import class_remarks
from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.class_folders import skipped_files_line
from data_loader.datasets.decoding import UnreadableImageError, read_image
from data_loader.file_loader import FileDataLoader
from utils.config.command_line import OneLineParser
from utils.config.parser import ConfigParser
from utils.config.schema import Component, problems
from utils.errors import ConfigError, Problem, run_main
from utils.files.writing import write_text
from utils.reporting.progress import progress_bar

_IMAGES_AT_ONCE = 32
_SHOWN = 10  # lines on the screen; the file has all


class _Reasons(Dataset[str]):
    """Why each file can't be read, or ""; what torch's workers compute."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> str:
        try:
            read_image(self.paths[index])
        except UnreadableImageError as error:
            return str(error).removeprefix(f"{self.paths[index]}: ")
        return ""


def unreadable_images(paths: list[str], *, workers: int) -> dict[str, str]:
    """Open every file; path → reason of those that can't be read, in the order given."""
    batches = DataLoader(_Reasons(paths), batch_size=_IMAGES_AT_ONCE, num_workers=workers, collate_fn=list)
    reasons: list[str] = []
    with progress_bar("checking", len(paths)) as bar:
        for batch in batches:
            reasons += batch
            bar.update(len(batch))
    return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


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
        return
    paths, bad_lines = loader.inventory()
    bad = unreadable_images(paths, workers=max(arguments.workers, 0))
    lines = [line.replace(": ", "\t", 1) for line in bad_lines] + [f"{path}\t{reason}" for path, reason in bad.items()]
    wrong = f"{len(bad_lines):,} list line{' is' if len(bad_lines) == 1 else 's are'} wrong"
    print(f"{len(paths):,} image{'s' * (len(paths) != 1)} checked: {len(bad):,} can't be read; {wrong}")
    if isinstance(loader, ImageFolderDataLoader) and loader.skipped_files:
        print(skipped_files_line(loader.skipped_files))
    if not bad_lines:
        for remark in class_remarks(loader):
            print(f"warning: {remark}")
    if not lines:
        return
    for line in lines[:_SHOWN]:
        print("  " + line.replace("\t", ": "))
    write_text(arguments.out, "".join(f"{line}\n" for line in lines))
    print(f"{arguments.out}: all {len(lines):,}")
    sys.exit(1)


if __name__ == "__main__":
    run_main(main)

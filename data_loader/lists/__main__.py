"""List files: get the published ones, check them, make new ones, look into them.

    python -m data_loader.lists fetch          the published lists of ImageNet-LT, iNaturalist 2018 and Places-LT
    python -m data_loader.lists verify         whether what lies in data_txt/ is what was published
    python -m data_loader.lists make-shifts    forward and backward test lists from a training and a test list
    python -m data_loader.lists make-lt        a long-tailed training list from a balanced list or folder
    python -m data_loader.lists stats          images a class, imbalance ratio, groups; as a table and a picture

A list file holds one `relative/path.jpg LABEL` a line; paths start from the configuration's data_dir. Each command
has its own --help. Exit codes: 0 well, 1 verify found something, 2 a mistake in what was asked for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_loader.lists.fetching import fetch, problem_of
from data_loader.lists.list_files import ImageList, read_list, write_list
from data_loader.lists.list_making import long_tailed_list, read_list_or_folder, shifted_lists
from data_loader.lists.list_stats import ListStatistics, statistics_figure, statistics_table
from data_loader.lists.manifest import MANIFEST, published_files
from utils.config.command_line import OneLineParser
from utils.errors import UserError, run_main
from utils.files.writing import write_atomically
from utils.reporting.tables import table

_RATIO_TOLERANCE = 0.1  # make-lt tells of a greater difference between the ratio wanted and had

_FETCH = """\
Fetches the published lists into data_txt/ and compares each with the hash in data_txt/manifest.json; a file with
another content is refused and not kept. A transfer that was cut off goes on where it stopped at the next call. The
training list of iNaturalist comes as a zip archive and is unpacked beside it.

examples:
  python -m data_loader.lists fetch                                    everything, from where it was published
  python -m data_loader.lists fetch ImageNet_LT iNaturalist18          two of the three data sets
  python -m data_loader.lists fetch ImageNet_LT --clone ~/a-clone      from a local clone of a repository that has them
  python -m data_loader.lists fetch --base-url https://a.mirror/lists  from URL/data_txt/<data set>/<file>"""

_VERIFY = """\
Compares the lists in data_txt/ with the hashes in data_txt/manifest.json and tells of each whether it is there.

example:
  python -m data_loader.lists verify ImageNet_LT"""

_SHIFTS = """\
Writes the shifted test lists <prefix>_forwardR.txt and <prefix>_backwardR.txt. Classes are ranked by their images in
the training list (ties by label); with n the largest class of the test list and f = 1/R rounded to --factor-decimals,
the class of rank k gives ⌊n · f^(k/(C-1))⌋ test images, backward with the ranks reversed. Which images: NumPy's
legacy generator, seeded with 0 for each list. The published lists of ImageNet-LT, iNaturalist 2018 and Places-LT
have the same sizes and the same images a class, but other images: figures on these lists are not figures on those.

examples:
  python -m data_loader.lists make-shifts --train data_txt/ImageNet_LT/ImageNet_LT_train.txt \\
      --test data_txt/ImageNet_LT/ImageNet_LT_test.txt --out my_lists
  python -m data_loader.lists make-shifts --train train.txt --test val.txt --ratios 2 3 --out my_lists

The published backward3 of iNaturalist (11,137 images) was cut with --factor-decimals 3, all others with 4."""

_LONG_TAIL = """\
Writes a long-tailed training list from a balanced list, or from a folder that holds a folder for each class (its
paths are then relative to that folder, its labels the places of the sorted folder names).

  exp      class i of C gets ⌊n · (1/R)^(i/(C-1))⌋ images: equal steps on a logarithmic scale
  pareto   ⌊n · (i+1)^(-a)⌋ with the exponent a = ln R / ln C that ends at n/R: a power law, with a longer tail
  step     n for the first half of the classes, n/R for the others

examples:
  python -m data_loader.lists make-lt --source balanced.txt --ratio 100 --out train_ir100.txt
  python -m data_loader.lists make-lt --source photos/train --type pareto --ratio 256 --max 1280 --out train_lt.txt"""

_STATS = """\
Counts the images of each class. Groups: many > 100 images, medium 20 to 100, few < 20.

example:
  python -m data_loader.lists stats data_txt/ImageNet_LT/ImageNet_LT_*.txt --plot imagenet_lt.png"""


def _fetch(arguments: argparse.Namespace) -> None:
    files = published_files(arguments.data_sets)
    if arguments.clone is not None:
        files = [file for file in files if (arguments.clone / file.path).parent.is_dir()]
        if not files:
            wanted = ", ".join(arguments.data_sets) or "the published data sets"
            raise UserError(f"{arguments.clone}: holds no data_txt folder of {wanted} (--clone)")
    changed = 0
    for file in files:
        source = arguments.clone or arguments.base_url or file.folder_url
        if fetch(file, arguments.to, source=source, force=arguments.force):
            changed += 1
            print(f"{file.below(arguments.to)}: {_images(file.images)} of {file.classes} classes")
    print(f"{changed} file{'s' * (changed != 1)} fetched, {len(files) - changed} were there; all hashes are right")


def _verify(arguments: argparse.Namespace) -> None:
    files = published_files(arguments.data_sets)
    problems = {file: problem_of(file, arguments.to) for file in files}
    rows = [[file.path, f"{file.images:,}", f"{file.classes}", problems[file] or "ok"] for file in files]
    print(table(["list", "images", "classes", "state"], rows))
    bad = sum(map(bool, problems.values()))
    print(f"{len(files) - bad} of {len(files)} are as published")
    if bad:
        sys.exit(1)


def _make_shifts(arguments: argparse.Namespace) -> None:
    train, test = (read_list(path, arguments.num_classes) for path in (arguments.train, arguments.test))
    num_classes = arguments.num_classes or 1 + int(max(train.targets.max(), test.targets.max()))
    prefix = arguments.prefix or arguments.test.stem.rpartition("_")[0] or arguments.test.stem
    lists = shifted_lists(
        train, test, num_classes=num_classes, ratios=arguments.ratios, decimals=arguments.factor_decimals
    )
    for name, images in lists:
        path = arguments.out / f"{prefix}_{name}.txt"
        _write(path, images, force=arguments.force)
        print(f"{path}: {_images(len(images))}")


def _make_long_tail(arguments: argparse.Namespace) -> None:
    images = read_list_or_folder(arguments.source, arguments.num_classes)
    selected = long_tailed_list(
        images,
        num_classes=arguments.num_classes or 1 + int(images.targets.max()),
        imb_type=arguments.type,
        ratio=arguments.ratio,
        largest=arguments.max,
        seed=arguments.shuffle_classes,
    )
    _write(arguments.out, selected, force=arguments.force)
    statistics = _statistics(selected, arguments.num_classes)
    print(statistics_table({str(arguments.out): statistics}))
    real = statistics.imbalance_ratio
    if real is not None and abs(real / arguments.ratio - 1) > _RATIO_TOLERANCE:
        largest, smallest = int(statistics.class_counts.max()), int(statistics.class_counts.min())
        print(
            f"the ratio is {real:.4g}, not the {arguments.ratio:g} of --ratio: counts are rounded down to whole "
            f"images, here {largest:,} and {smallest:,}; larger classes come closer (--max)"
        )


def _stats(arguments: argparse.Namespace) -> None:
    lists = {
        str(path): _statistics(read_list_or_folder(path, arguments.num_classes), arguments.num_classes)
        for path in arguments.lists
    }
    print(statistics_table(lists))
    if arguments.plot is not None:
        figure = statistics_figure({Path(name).stem: statistics for name, statistics in lists.items()})
        write_atomically(arguments.plot, lambda file: figure.savefig(file, format="png", dpi=150))
        print(f"{arguments.plot}: written")


def _statistics(images: ImageList, num_classes: int | None) -> ListStatistics:
    return ListStatistics(np.bincount(images.targets, minlength=num_classes or 0))


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _write(path: Path, images: ImageList, *, force: bool) -> None:
    if path.exists() and not force:
        raise UserError(f"{path}: is there already; --force replaces it")
    write_list(path, images)


def _at_least(lowest: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not lowest <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest:g} or no number")
        return value

    return read


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = OneLineParser(prog="python -m data_loader.lists", description=__doc__, formatter_class=layout)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=OneLineParser)

    def command(name: str, run: Callable[[argparse.Namespace], None], help_: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_, description=text, formatter_class=layout)
        added.set_defaults(run=run)
        return added

    count = _at_least(1, int)
    get = command("fetch", _fetch, "get the published lists", _FETCH)
    check = command("verify", _verify, "compare data_txt/ with what was published", _VERIFY)
    for published in (get, check):
        published.add_argument("data_sets", nargs="*", metavar="DATA_SET", help="ImageNet_LT, …; default: all")
        published.add_argument("--to", type=Path, default=MANIFEST.parent, metavar="DIR", help="instead of data_txt/")
    origin = get.add_mutually_exclusive_group()
    origin.add_argument("--base-url", metavar="URL", help="a mirror's address, before data_txt/…")
    origin.add_argument("--clone", type=Path, metavar="DIR", help="a local clone instead of the network")

    shifts = command("make-shifts", _make_shifts, "write shifted test lists", _SHIFTS)
    shifts.add_argument("--train", type=Path, required=True, metavar="LIST", help="gives the ranks of the classes")
    shifts.add_argument("--test", type=Path, required=True, metavar="LIST", help="gives the images")
    shifts.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the lists")
    shifts.add_argument("--prefix", metavar="NAME", help="default: the test list's name up to its last _")
    shifts.add_argument("--ratios", type=count, nargs="+", default=[2, 5, 10, 25, 50], metavar="R", help="2 5 10 25 50")
    shifts.add_argument("--factor-decimals", type=count, default=4, metavar="N", help="decimals of 1/R; default: 4")

    tail = command("make-lt", _make_long_tail, "write a long-tailed training list", _LONG_TAIL)
    tail.add_argument("--source", type=Path, required=True, metavar="LIST|DIR", help="balanced images")
    tail.add_argument("--out", type=Path, required=True, metavar="FILE", help="the list to write")
    tail.add_argument("--type", choices=("exp", "pareto", "step"), default="exp", help="default: exp")
    tail.add_argument(
        "--ratio", type=_at_least(1, float), required=True, metavar="R", help="imbalance ratio, at least 1"
    )
    tail.add_argument("--max", type=count, metavar="N", help="largest class; default: the smallest of the source")
    tail.add_argument("--shuffle-classes", type=int, metavar="SEED", help="head to tail in an order drawn with SEED")

    stats = command("stats", _stats, "count images, classes and groups", _STATS)
    stats.add_argument(
        "lists", type=Path, nargs="+", metavar="LIST|DIR", help="list files, or folders of class folders"
    )
    stats.add_argument("--plot", type=Path, metavar="PNG", help="draw images a class into this file")
    for counted in (shifts, tail, stats):
        counted.add_argument("--num-classes", type=count, metavar="C", help="default: the largest label + 1")
    for writing in (get, shifts, tail):
        writing.add_argument("--force", action="store_true", help="replace files that are there")
    return parser


def main() -> None:
    """Run the command that was asked for."""
    arguments = _parser().parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    run_main(main)

"""Brings the raw downloads into the folders that the published lists name.

ImageNet-LT (data_dir ./data/imagenet; lists name train/nXXXXXXXX/… and val/nXXXXXXXX/ILSVRC2012_val_….JPEG):

    python -m data_loader.lists fetch ImageNet_LT
    python -m data_loader.prepare imagenet-train ILSVRC2012_img_train.tar --data-dir data/imagenet
    python -m data_loader.prepare imagenet-val ILSVRC2012_img_val.tar --data-dir data/imagenet

iNaturalist 2018 (data_dir ./data/iNaturalist; lists name train_val2018/<kind>/<class>/….jpg): unpack the archive of
the training and validation images there, it brings the folder train_val2018 with it; nothing else is needed:

    python -m data_loader.lists fetch iNaturalist18
    mkdir -p data/iNaturalist && tar -xzf train_val2018.tar.gz -C data/iNaturalist

Places-LT (lists name data_256/… and val_256/….jpg, of Places365's small images, 256×256): unpack the archives of the
training and of the validation images into one folder, likewise, and give it as data_dir:

    python -m data_loader.lists fetch Places_LT_v2
    mkdir -p data/places && tar -xf ARCHIVE.tar -C data/places        (for each of the two)

Then look whether every image is there and can be read:

    python -m data_loader.check CONFIG
"""

from __future__ import annotations

import argparse
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from data_loader.lists.list_files import read_list
from data_loader.lists.manifest import MANIFEST
from utils.config.command_line import OneLineParser
from utils.errors import UserError, run_main
from utils.files.reading import regular_file
from utils.files.writing import write_atomically
from utils.reporting.progress import progress_bar

_TEST_LIST = MANIFEST.parent / "ImageNet_LT" / "ImageNet_LT_test.txt"
_TRAIN_CLASSES = 1000


def unpack_classes(archive: Path, folder: Path) -> int:
    """ImageNet's training archive, a tar of one tar a class, → `folder`/<class>/*; returns how many classes are new.

    A class whose folder exists is done: a folder gets its name when the last of its images is in it.

    Raises:
        UserError: the archive can't be read, or holds something else.
    """
    unpacked = 0
    with _opened(archive) as outer, progress_bar(folder.name, _TRAIN_CLASSES, unit="class") as bar:
        for member in _files(outer):
            name = PurePosixPath(member.name)
            if name.suffix != ".tar":
                raise UserError(f"{archive}: expected a .tar for each class in it; it holds {member.name}")
            bar.update()
            if (folder / name.stem).is_dir():
                continue
            partial = folder / f".{name.stem}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                for image in _files(inner):
                    _copy(inner, image, partial / PurePosixPath(image.name).name)
            partial.rename(folder / name.stem)
            unpacked += 1
    return unpacked


def place_by_list(source: Path, data_dir: Path, test_list: Path) -> int:
    """Images of one flat archive or folder → where a list wants the file of this name; returns how many are new.

    Files from an archive are copied, files from a folder moved.

    Raises:
        UserError: an image of the list is neither in its place nor in the source.
    """
    paths = [PurePosixPath(os.fsdecode(path)) for path in read_list(test_list).paths]
    wanted = {path.name: data_dir / path for path in paths}
    missing = {name: place for name, place in wanted.items() if not place.is_file()}
    to_do = len(missing)
    with progress_bar("placing", to_do) as bar:
        if source.is_dir():
            for name in [name for name in missing if (source / name).is_file()]:
                place = missing.pop(name)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(source / name, place)
                bar.update()
        elif missing:
            with _opened(source) as archive:
                for member in _files(archive):
                    name = PurePosixPath(member.name).name
                    if name in missing:
                        _copy(archive, member, missing.pop(name))
                        bar.update()
    if missing:
        raise UserError(f"{source}: {len(missing)} images of {test_list} aren't in it, {min(missing)} for one")
    return to_do


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    regular_file(archive, "tar archive")
    try:
        with tarfile.open(archive) as content:
            yield content
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: can't be read as a tar archive ({error})") from None


def _files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    return (member for member in archive if member.isfile())


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None  # it is a file
    write_atomically(place, lambda file: shutil.copyfileobj(content, file))


def _train(arguments: argparse.Namespace) -> None:
    unpacked = unpack_classes(arguments.source, arguments.data_dir / "train")
    print(f"{arguments.data_dir / 'train'}: {unpacked} classes unpacked")


def _validation(arguments: argparse.Namespace) -> None:
    placed = place_by_list(arguments.source, arguments.data_dir, arguments.list)
    print(f"{arguments.data_dir}: {placed:,} images placed, all of {arguments.list} are there")


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = OneLineParser(prog="python -m data_loader.prepare", description=__doc__, formatter_class=layout)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=OneLineParser)
    train = commands.add_parser("imagenet-train", help="unpack the archive of one archive a class into train/")
    train.set_defaults(run=_train)
    train.add_argument("source", type=Path, metavar="TAR", help="ILSVRC2012_img_train.tar")
    validation = commands.add_parser("imagenet-val", help="put the validation images into class folders below val/")
    validation.set_defaults(run=_validation)
    validation.add_argument(
        "source", type=Path, metavar="TAR|DIR", help="ILSVRC2012_img_val.tar, or a folder with its files"
    )
    validation.add_argument("--list", type=Path, default=_TEST_LIST, metavar="LIST", help="says which class each is of")
    for command in (train, validation):
        command.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="the configuration's data_dir")
    return parser


def main() -> None:
    """Run the command that was asked for."""
    arguments = _parser().parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    run_main(main)

"""The split of a run, kept in its folder: which image is in which part, and what was in it.

`split/train.txt`, `validation.txt` and `test.txt` are list files. `contents.sha256` has the digest of every image, as
`sha256sum --check` reads it within the images' folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_loader.datasets.contents import file_digests
from data_loader.datasets.splits import Splits
from data_loader.lists.list_files import ImageList, parse_list, write_list
from utils.errors import UserError
from utils.files.reading import read_regular_file, regular_file
from utils.files.writing import write_bytes

FOLDER = "split"
_CONTENTS = "contents.sha256"
_LAST = "train"  # written when the others are whole: without it there is no kept split
_PARTS = ("validation", "test", _LAST)
_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *](.+)")
_ESCAPES = {b"\\": rb"\\", b"\n": rb"\n", b"\r": rb"\r"}
_ESCAPED = {escaped: byte for byte, escaped in _ESCAPES.items()}


@dataclass(frozen=True)
class KeptSplit:
    """A run's split as its folder has it.

    Args:
        files: the images of each part; "validation" is "test" itself where the test images serve.
        contents: path → SHA-256 in hexadecimal, of the images that could be read.
    """

    files: Mapping[str, ImageList]
    contents: Mapping[bytes, str]

    @staticmethod
    def is_kept(run: Path) -> bool:
        """Whether a run's folder has a whole one."""
        return _list(run, _LAST).is_file()

    @classmethod
    def read(cls, run: Path, num_classes: int) -> KeptSplit | None:
        """That of a run's folder; None: it has none, or not a whole one.

        Raises:
            UserError: a file is damaged.
        """
        if not cls.is_kept(run):
            return None
        files = {part: _read(_list(run, part), num_classes) for part in _PARTS}
        if files["validation"].paths.tolist() == files["test"].paths.tolist():
            files["validation"] = files["test"]  # by which others see that it is no honest validation
        return cls(files, _read_contents(run / FOLDER / _CONTENTS))

    def missing(self, base: Path, parts: Iterable[str]) -> list[str]:
        """The images of some parts that are not in a folder."""
        paths = dict.fromkeys(path for part in parts for path in self.files[part].paths.tolist())
        return [os.fsdecode(path) for path in paths if not (base / os.fsdecode(path)).is_file()]

    def is_in(self, base: Path, parts: Iterable[str]) -> bool:
        """Whether a folder has the images of some parts, under their names and with their contents."""
        paths = list(dict.fromkeys(path for part in parts for path in self.files[part].paths.tolist()))
        known = {path: self.contents[path] for path in paths if path in self.contents}
        return bool(known) and not self.missing(base, parts) and contents_of(known, base) == known

    def trained_on(self, images: ImageList, base: Path) -> list[int]:
        """The indices of those images in a folder whose contents the run was trained on."""
        trained = {self.contents.get(path) for path in self.files["train"].paths.tolist()} - {None}
        paths = images.paths.tolist()
        found = contents_of(paths, base)
        return [index for index, path in enumerate(paths) if found.get(path) in trained]


def keep_split(run: Path, files: Splits[ImageList], base: Path) -> None:
    """Write a split into a run's folder, in place of one that was there.

    Args:
        run: the run's folder.
        files: the images of "train", "validation" and "test".
        base: the folder that their paths start from.
    """
    for part in reversed(_PARTS):
        _list(run, part).unlink(missing_ok=True)
    paths = dict.fromkeys(path for part in _PARTS for path in files[part].paths.tolist())
    lines = (_content_line(path, digest) for path, digest in contents_of(paths, base).items())
    write_bytes(run / FOLDER / _CONTENTS, b"".join(lines))
    for part in _PARTS:
        write_list(_list(run, part), files[part])


def contents_of(paths: Iterable[bytes], base: Path) -> dict[bytes, str]:
    """The SHA-256 of images in a folder, in hexadecimal; without those that can't be read."""
    paths = list(paths)
    digests = file_digests([str(base / os.fsdecode(path)) for path in paths])
    return {path: digest for path, digest in zip(paths, digests, strict=True) if digest}


def names_digest(images: ImageList) -> str:
    """A digest of which images there are, and of which classes, in any order."""
    lines = sorted(zip(images.paths.tolist(), images.targets.tolist(), strict=True))
    return hashlib.sha256(b"".join(b"%d %b\0" % (label, path) for path, label in lines)).hexdigest()


def _list(run: Path, part: str) -> Path:
    return run / FOLDER / f"{part}.txt"


def _read(path: Path, num_classes: int) -> ImageList:
    if not regular_file(path, "list file").st_size:  # as that of a validation may be
        return ImageList(np.array([], np.bytes_), np.array([], np.int64))
    images, problems = parse_list(path, num_classes)
    if problems:
        raise UserError(f"{problems[0]}; this is the run's split as it was kept: bring it back")
    return images


def _read_contents(path: Path) -> dict[bytes, str]:
    """Path → digest; empty where there is no such file."""
    if not path.exists():
        return {}
    found = {}
    for number, line in enumerate(read_regular_file(path, "file of digests").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{path}, line {number}: expected `DIGEST  PATH`, as sha256sum writes it")
        name = match[3]
        if match[1]:
            name = re.sub(rb"\\[\\nr]", lambda escaped: _ESCAPED[escaped[0]], name)
        found[name] = match[2].decode()
    return found


def _content_line(path: bytes, digest: str) -> bytes:
    escaped = re.sub(rb"[\\\n\r]", lambda byte: _ESCAPES[byte[0]], path)
    return (b"\\" if escaped != path else b"") + digest.encode() + b"  " + escaped + b"\n"

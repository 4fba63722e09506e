"""Reading images out of a finished cache, which is mapped into memory: workers share what has been read from disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_loader.cache.layout import BUILD, RECORD, STORED, CacheFiles, CacheKind, check_of, described
from data_loader.cache.sources import changed_sources
from data_loader.cache.stored_form import image_of
from data_loader.lists.list_files import positions
from utils.errors import UserError
from utils.files.reading import read_regular_file

_KEY = "data_loader.args.cache"
_MEND = f"{BUILD} mends it"
_READ = 64  # files with another time than the cache knows, when it is opened


@dataclass(frozen=True, eq=False)
class ImageCache:
    """The images of one split, of which each worker maps the file for itself.

    Args:
        images: file of the images.
        kind: of the cache.
        records: of the split's images, in their order; shape [N].
        intact: which were found to be what was stored, bool, shape [N]; the workers share it.
    """

    images: Path
    kind: CacheKind
    records: np.ndarray
    intact: Tensor

    def __post_init__(self) -> None:
        self.intact.share_memory_()

    def read(self, index: int) -> Tensor | None:
        """The image `index` of the split, uint8, shape [3, H, W]; None: it is to be read from its file.

        Raises:
            UserError: the cache is damaged; this is looked for once a run and image.
        """
        record = self.records[index]
        if record["state"] != STORED:
            return None
        begin = int(record["offset"])
        stored = self._mapped[begin : begin + int(record["length"])]
        if not self.intact[index]:
            if check_of(record, stored.data) != record["check"]:
                raise UserError(f"{self.images}: damaged at byte {begin:,} ({_KEY}): {_MEND}")
            self.intact[index] = True
        return image_of(stored, self.kind.format, int(record["height"]), int(record["width"]))

    @cached_property
    def _mapped(self) -> np.ndarray:
        return np.memmap(self.images, np.uint8, mode="c")  # "c": torch wants memory that could be written to

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_mapped"}


def open_cache(
    folder: Path, kind: CacheKind, names: np.ndarray, wanted: np.ndarray, paths: Sequence[str]
) -> ImageCache:
    """The cache of some images, by the fingerprint of their names.

    Args:
        folder: that it lies in.
        kind: what was done to its images.
        names: of all images in it, sorted and each once; bytes, shape [M].
        wanted: those that are to be read, among them; bytes, shape [N].
        paths: where the files of these lie, length N.

    Raises:
        UserError: there is none, it is not finished or damaged, or an image has changed since.
    """
    files = CacheFiles.of(folder, kind, names.tolist())
    records = read_finished(files, kind, len(names))[positions(names, wanted)]
    changed = changed_sources(records, paths, most_read=_READ)
    if len(changed):
        more = f", as have {len(changed) - 1:,} more," if len(changed) > 1 else ""
        raise UserError(
            f"{paths[changed[0]]}: has changed{more} since the cache was built in {folder} ({_KEY}): {_MEND}"
        )
    return ImageCache(files.images, kind, records, torch.zeros(len(records), dtype=torch.bool))


def read_finished(files: CacheFiles, kind: CacheKind, count: int) -> np.ndarray:
    """The records of a finished cache, shape [count].

    Raises:
        UserError: there is none, it is not finished, or damaged.
    """
    if not files.description.is_file():
        begun = files.records.exists()
        told = f"holds no {'finished ' * begun}cache of these images ({kind})"
        remedy = f"{BUILD} {'finishes' if begun else 'builds'} it"
        raise UserError(f"{files.folder}: {told} ({_KEY}): {remedy}")
    content = read_regular_file(files.records, "cache's file of records", if_missing=f" ({_KEY}): {_MEND}")
    size = files.images.stat().st_size if files.images.is_file() else 0
    try:
        records = np.frombuffer(content, RECORD)
        known = json.loads(read_regular_file(files.description, "cache's description"))
        whole = len(records) == count and known == json.loads(json.dumps(described(kind, records, size)))
    except ValueError:  # no JSON, or no whole number of records
        whole = False
    if not whole:
        raise UserError(f"{files.images}: the cache is damaged ({_KEY}): {_MEND}")
    return records

"""Building a cache in parallel; what is stored already is checked and kept, so that a build can be stopped and go on.

A record is written behind its image. Whatever kills the build leaves records that are whole, and perhaps bytes that no
record speaks of. What is found damaged or made from a file that has changed is stored anew, at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset

from data_loader.cache.layout import LEFT_OUT, RECORD, STORED, CacheFiles, CacheKind, check_of, described
from data_loader.cache.reading import read_finished
from data_loader.cache.sources import changed_sources
from data_loader.cache.stored_form import shrinkage_to, stored_form
from data_loader.datasets.contents import stat_files
from data_loader.datasets.decoding import ImageReader, UnreadableImageError, read_file
from data_loader.file_loader import FileDataLoader
from data_loader.lost_workers import report_lost_workers
from data_loader.worker_processes import batches_of, loader_processes
from utils.errors import UserError, reason_of
from utils.files.locks import take_lock
from utils.files.writing import write_bytes, write_text
from utils.reporting.progress import progress_bar
from utils.signals import leave_all_to_the_parent

_AT_ONCE = 16  # images
_SAMPLED = 32  # images, by which it is estimated how many bytes all will take
_AGAIN = "run the same command again: it goes on from there"


class Built(NamedTuple):
    """What a build has done.

    Attributes:
        path: of the file of images.
        images: how many there are.
        kept: images that were stored before, and are as they should be.
        bytes: of the file of images.
        reasons: why some images are not in the cache, a line each, which names the file.
    """

    path: Path
    images: int
    kept: int
    bytes: int
    reasons: list[str]

    @property
    def stored(self) -> int:
        """How many are in the cache."""
        return self.images - len(self.reasons)


def build_cache(loader: FileDataLoader, *, workers: int) -> Built:
    """Build, finish or mend the cache that a loader's arguments name.

    Args:
        loader: with a cache.
        workers: processes; 0: this one.

    Raises:
        UserError: another process is at it, the disk is full or can't be written to.
        RunError: one of the processes is lost.
    """
    assert loader.cache is not None, "the caller asks for one"
    names, kind = loader.cached_names().tolist(), loader.cache_kind
    paths = [os.path.join(loader.data_dir, os.fsdecode(name)) for name in names]
    return CacheBuilder(CacheFiles.of(Path(loader.cache), kind, names), kind, paths, loader.reader).build(workers)


class _Made(NamedTuple):
    """A record and the bytes that belong to it; the reason where there are none."""

    record: np.ndarray
    stored: bytes
    reason: str


class _Sources(Dataset[_Made]):
    """What the worker processes make of the files."""

    def __init__(self, paths: Sequence[str], reader: ImageReader, kind: CacheKind) -> None:
        self.paths, self.reader, self.kind = paths, reader, kind

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> _Made:
        path, record = self.paths[index], np.zeros((), RECORD)
        record["size"], record["time"] = stat_files([path])[0]  # before it is read: a change while it is will show
        try:
            content = read_file(path)
            shrinkage = partial(shrinkage_to, self.kind.side) if self.kind.reduced_decoding else None
            image = self.reader.decode(content, path, shrinkage=shrinkage).pixels
            seen, stored = stored_form(image, content, side=self.kind.side, form=self.kind.format)
        except UnreadableImageError as error:
            record["state"] = LEFT_OUT
            return _Made(record, b"", str(error))
        except OSError as error:
            record["state"] = LEFT_OUT
            return _Made(record, b"", f"{path}: can't be stored as a JPEG ({reason_of(error)})")
        record["digest"] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
        record["length"], record["state"] = len(stored), STORED
        record["height"], record["width"] = seen.shape[1:]
        record["check"] = check_of(record, stored)
        return _Made(record, stored, "")


@dataclass(frozen=True)
class CacheBuilder:
    """Builds, finishes, checks and mends one cache.

    Args:
        files: of the cache.
        kind: what is done to an image.
        paths: of the images, in the order of their sorted names.
        reader: what decodes them.
    """

    files: CacheFiles
    kind: CacheKind
    paths: Sequence[str]
    reader: ImageReader

    def build(self, workers: int) -> Built:
        """Store what isn't yet; see `build_cache`."""
        with self._alone():
            records = self._kept_records()
            kept = int((records["state"] == STORED).sum())
            to_do = np.flatnonzero(records["state"] != STORED)
            self._refuse_what_does_not_fit(to_do)
            reasons = self._store(records, to_do, workers) if len(to_do) or not self._is_finished() else []
            return Built(self.files.images, len(records), kept, self.files.images.stat().st_size, reasons)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        folder = self.files.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: can't be written to: {error.strerror} (data_loader.args.cache)") from None
        lock = take_lock(self.files.lock)
        if lock is None:
            raise UserError(f"{folder}: another process is building this cache")
        try:
            yield
        except OSError as error:
            raise UserError(f"{folder}: can't be written to: {error.strerror or error}; {_AGAIN}") from None
        finally:
            lock.release()

    def _is_finished(self) -> bool:
        try:
            read_finished(self.files, self.kind, len(self.paths))
        except UserError:
            return False
        return True

    def _kept_records(self) -> np.ndarray:
        """The records there are; of what is damaged or has changed, zeros."""
        records = np.zeros(len(self.paths), RECORD)
        if not (self.files.records.is_file() and self.files.images.is_file()):
            return records
        content = self.files.records.read_bytes()
        whole = min(len(content) // RECORD.itemsize, len(records))
        records[:whole] = np.frombuffer(content, RECORD, whole)
        stored = np.flatnonzero(records["state"] == STORED)
        with open(self.files.images, "rb") as file, progress_bar("checking", len(stored)) as bar:
            for index in stored[np.argsort(records["offset"][stored])]:
                if not _is_intact(file, records[index]):
                    records[index] = 0
                bar.update()
        records[changed_sources(records, self.paths)] = 0
        return records

    def _refuse_what_does_not_fit(self, to_do: np.ndarray) -> None:
        """By a sample of the images and the space that is free."""
        if not len(to_do):
            return
        sample = np.unique(np.linspace(0, len(to_do) - 1, _SAMPLED).astype(int))
        sources = _Sources(self.paths, self.reader, self.kind)
        mean = float(np.mean([len(sources[int(index)].stored) for index in to_do[sample]]))
        needed, free = mean * len(to_do), shutil.disk_usage(self.files.folder).free
        if needed > free:
            raise UserError(
                f"{self.files.folder}: {len(to_do):,} images will take about {needed / 1e9:,.1f} GB, and "
                f"{free / 1e9:,.1f} GB are free (data_loader.args.cache); a smaller cache_side or another "
                "cache_format may fit"
            )

    def _store(self, records: np.ndarray, to_do: np.ndarray, workers: int) -> list[str]:
        """Make and write what is to do, then the description; why some were left out."""
        self.files.description.unlink(missing_ok=True)
        write_bytes(self.files.records, records.tobytes())  # all of it: the space is taken now
        if len(to_do) == len(records):
            self.files.images.write_bytes(b"")
        reasons = []
        with open(self.files.images, "ab") as images, open(self.files.records, "r+b") as file:
            for index, made in zip(to_do, self._made(to_do, workers), strict=True):
                made.record["offset"] = images.tell()
                images.write(made.stored)
                images.flush()
                file.seek(int(index) * RECORD.itemsize)
                file.write(made.record.tobytes())
                file.flush()
                records[index] = made.record
                reasons += [made.reason] if made.reason else []
            for written in (images, file):
                written.flush()
                os.fsync(written.fileno())
            size = images.tell()
        write_text(self.files.description, json.dumps(described(self.kind, records, size), indent=1) + "\n")
        return reasons

    def _made(self, to_do: np.ndarray, workers: int) -> Iterator[_Made]:
        sources = DataLoader(
            _Sources([self.paths[index] for index in to_do], self.reader, self.kind),
            batch_size=_AT_ONCE,
            num_workers=workers,
            collate_fn=list,
            multiprocessing_context=loader_processes() if workers else None,
            worker_init_fn=leave_all_to_the_parent,
        )
        with progress_bar("storing", len(to_do)) as bar, report_lost_workers(_AGAIN):
            for batch in batches_of(sources):
                yield from batch
                bar.update(len(batch))


def _is_intact(file: IO[bytes], record: np.ndarray) -> bool:
    """Whether a file holds what a record says."""
    offset, length = int(record["offset"]), int(record["length"])
    if offset < 0 or length < 0 or offset + length > os.fstat(file.fileno()).st_size:
        return False
    file.seek(offset)
    return check_of(record, file.read(length)) == record["check"]

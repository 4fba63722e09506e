"""Where a cache's files lie and what is in them.

Three files in the cache's folder, named by the fingerprint of the images and of what was done to them:

- `images-FINGERPRINT.bin`: the images, one behind the other;
- `images-FINGERPRINT.records`: a `RECORD` for each image, in the order of the sorted names;
- `images-FINGERPRINT.json`: what the cache is. It is written last: without it the cache is not finished.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data_loader.datasets.pixel_values import ValueRange

Format = Literal["jpeg", "raw"]

VERSION = 1
MISSING, STORED, LEFT_OUT = range(3)
"""States of a record: not there yet; stored; to be read from its file, which has failed when the cache was built."""

RECORD = np.dtype(
    [
        ("size", "<i8"),  # of the source file, in bytes
        ("time", "<i8"),  # of its modification, in ns
        ("digest", "u1", 32),  # SHA-256 of its content
        ("offset", "<i8"),  # in `images`, in bytes
        ("length", "<i8"),
        ("height", "<i4"),  # of what is stored, in pixels
        ("width", "<i4"),
        ("check", "<u4"),  # see `check_of`
        ("state", "u1"),
    ]
)
BUILD = "`python -m data_loader.cache CONFIG`"


@dataclass(frozen=True)
class CacheKind:
    """What is done to an image before it is stored.

    Args:
        side: length of the shorter side in pixels; what is smaller stays as it is.
        format: "jpeg" of quality 95, or "raw" pixels.
        value_range: see `decoding.decode`.
        apply_exif: likewise.
        reduced_decoding: JPEGs are decoded at a part of their size where that has twice the pixels, each way.
    """

    side: int
    format: Format
    value_range: ValueRange | None = None
    apply_exif: bool = False
    reduced_decoding: bool = False

    def __str__(self) -> str:
        """In words."""
        reduced = ", reduced decoding" if self.reduced_decoding else ""
        return f"shorter side {self.side}, {self.format}{reduced}"

    def as_json(self) -> dict[str, object]:
        """As a fingerprint and a description have it; `reduced_decoding` is younger than the first caches."""
        content = asdict(self)
        if not self.reduced_decoding:
            del content["reduced_decoding"]
        return content


@dataclass(frozen=True)
class CacheFiles:
    """The files of one cache.

    Args:
        folder: that they lie in.
        fingerprint: 16 hexadecimal digits.
    """

    folder: Path
    fingerprint: str

    @classmethod
    def of(cls, folder: Path, kind: CacheKind, names: Sequence[bytes]) -> CacheFiles:
        """Those of the images of these names, sorted and each once, whatever folder they lie in."""
        told = json.dumps([VERSION, kind.as_json()], sort_keys=True).encode()
        return cls(folder, hashlib.sha256(b"\0".join([told, *names])).hexdigest()[:16])

    @property
    def images(self) -> Path:
        """The images."""
        return self._named("bin")

    @property
    def records(self) -> Path:
        """The records, `RECORD` each."""
        return self._named("records")

    @property
    def description(self) -> Path:
        """What it is."""
        return self._named("json")

    @property
    def lock(self) -> Path:
        """Held by the process that builds it."""
        return self._named("lock")

    def _named(self, suffix: str) -> Path:
        return self.folder / f"images-{self.fingerprint}.{suffix}"


def described(kind: CacheKind, records: np.ndarray, data_bytes: int) -> dict[str, object]:
    """What a cache's description holds, by which it is known to be whole.

    Args:
        kind: of the cache.
        records: all of them.
        data_bytes: of its images' file.
    """
    return {
        "version": VERSION,
        "images": len(records),
        "bytes": data_bytes,
        "records_sha256": hashlib.sha256(records.tobytes()).hexdigest(),
        **kind.as_json(),
    }


def check_of(record: np.ndarray, stored: bytes | memoryview) -> int:
    """CRC-32 of what is stored and of what its record says, but for where it lies."""
    numbers = np.array([record[name] for name in ("size", "time", "length", "height", "width")], "<i8")
    return zlib.crc32(stored, zlib.crc32(numbers.tobytes() + record["digest"].tobytes()))

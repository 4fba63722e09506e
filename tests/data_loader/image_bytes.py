"""PNG and TIFF files written by hand, for what Pillow can read and can't write."""

from __future__ import annotations

import struct
import zlib

import numpy as np

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG: grey, grey with alpha, colour, colour with alpha
_TIFF_TYPES = {"H": 3, "I": 4}


def png16(values: np.ndarray) -> bytes:
    """A PNG with 16 bits a channel, of values [H, W, 1 … 4]."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)  # 0: unfiltered
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def tiff(
    data: bytes,
    width: int,
    height: int,
    *,
    bits: int,
    channels: int = 1,
    photometric: int = 1,
    sample_format: int = 1,
    extra_samples: int = 0,
    planes: int = 1,
    compressed: bool = False,
) -> bytes:
    """A TIFF of one strip, little-endian: tags 262, 339, 338 (how many there are), 284 and 259 (8: zlib's)."""
    data = zlib.compress(data) if compressed else data
    entries: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (width,)),
        (257, "I", (height,)),
        (258, "H", (bits,) * channels),
        (259, "H", (8 if compressed else 1,)),
        (262, "H", (photometric,)),
        (273, "I", (8,)),
        (277, "H", (channels,)),
        (278, "I", (height,)),
        (279, "I", (len(data),)),
        (284, "H", (planes,)),
        *([(338, "H", (0,) * extra_samples)] if extra_samples else []),
        (339, "H", (sample_format,) * channels),
    ]
    data += b"\0" * (len(data) % 2)
    behind = 8 + len(data) + 2 + 12 * len(entries) + 4
    directory, values = b"", b""
    for tag, kind, numbers in entries:
        packed = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        if len(packed) > 4:
            values += packed
            packed = struct.pack("<I", behind + len(values) - len(packed))
        directory += struct.pack("<HHI", tag, _TIFF_TYPES[kind], len(numbers)) + packed.ljust(4, b"\0")
    header = b"II*\0" + struct.pack("<I", 8 + len(data))
    return header + data + struct.pack("<H", len(entries)) + directory + b"\0\0\0\0" + values

"""An image file → its pixels: what torchvision's `ImageFolder` loader (`Image.open(…).convert("RGB")`) would give.

Plain JPEGs (grey or three components, 8 bits) go through torchvision's decoder, which is faster and leaves the pixels
where they are needed; everything else (PNG, CMYK, palettes, 16 bits, …) and what that decoder refuses goes through
Pillow. Alpha is dropped, as with `ImageFolder`. Unlike there, images of more than 8 bits are scaled, what can't be read
rightly is refused, and an EXIF orientation is applied where it is asked for.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_loader.datasets.orientation import orientation_of, turns_sides, upright
from data_loader.datasets.pixel_values import Depth, ValueRange, open_picture, pixels_of
from utils.errors import UserError, reason_of
from utils.files.reading import read_at_most, regular_file
from utils.late_compiler import import_without_compiler

_log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Of an image file."""
MOST_PIXELS = 178_956_970
"""Of an image: Pillow's limit, beyond which it takes a file for an attack."""

Shrinkage = Callable[[int, int], float]
"""Height and width of an image → how many times smaller, each way, it will be made anyway."""

_REDUCTIONS = (8, 4, 2)  # parts that libjpeg can decode an image at
_SPARE = 2  # what is decoded smaller keeps so many times the pixels, each way, that are wanted in the end
_STANDALONE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG markers without a length
_NOT_A_FRAME = frozenset((0xC4, 0xC8, 0xCC))  # among 0xC0 … 0xCF, the frame headers
_METADATA = 0xE1  # EXIF or XMP


class UnreadableImageError(UserError):
    """A file that is missing, empty, truncated, no image, or can't be read rightly; the message names it."""


class DecodedImage(NamedTuple):
    """What an image file holds.

    Attributes:
        pixels: uint8, shape [3, H, W].
        kind: mode and depth in words: "8-bit colour".
        depth: of more than 8 bits; else None.
    """

    pixels: Tensor
    kind: str
    depth: Depth | None


def decode(
    content: bytearray,
    path: str,
    *,
    value_range: ValueRange | None = None,
    apply_exif: bool = False,
    shrinkage: Shrinkage | None = None,
) -> DecodedImage:
    """Decode an image file's content.

    Args:
        content: as `read_file` returns it.
        path: the file, for the message.
        value_range: of images deeper than 8 bits, what becomes 0 and 255; None: the range of their type.
        apply_exif: turn and mirror as the file's EXIF orientation says. A TIFF's own orientation always holds.
        shrinkage: a JPEG is decoded at a half, quarter or eighth of its size where it keeps twice the pixels, each way,
            that are left after this much shrinking; None: at its size.

    Raises:
        UnreadableImageError: it is truncated, no image, or can't be decoded rightly.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's of metadata and transparency, torchvision's of its future
        try:
            plain = _decode_plain_jpeg(content, apply_exif, shrinkage)
            return plain or _decode_with_pillow(content, value_range, apply_exif)
        except Exception as error:  # a damaged file raises nearly anything
            unknown = isinstance(error, Image.UnidentifiedImageError)
            reason = "not an image that Pillow knows" if unknown else reason_of(error)
            raise UnreadableImageError(f"{path}: can't be decoded ({reason})") from None


def read_image(path: str, *, value_range: ValueRange | None = None, apply_exif: bool = False) -> Tensor:
    """The pixels of an image file: uint8, shape [3, H, W]; see `read_file` and `decode` for arguments and errors."""
    return decode(read_file(path), path, value_range=value_range, apply_exif=apply_exif).pixels


def read_file(path: str) -> bytearray:
    """The content of an image file.

    Raises:
        UnreadableImageError: it is missing, no file, empty, or too large.
    """
    regular_file(Path(path), "file", most_bytes=MOST_BYTES, error=UnreadableImageError)
    try:
        with open(path, "rb", buffering=0) as file:
            content = bytearray(min(os.fstat(file.fileno()).st_size, MOST_BYTES))
            filled = file.readinto(content)
            rest = read_at_most(file, MOST_BYTES) if filled == len(content) else b""  # a file that has grown
    except OSError as error:
        raise UnreadableImageError(f"{path}: can't be read ({error.strerror or error})") from None
    del content[filled:]
    content += rest
    if not content:
        raise UnreadableImageError(f"{path}: the file is empty")
    return content


@dataclass(frozen=True, eq=False)
class ImageReader:
    """Reads the image files of a data set all in one way; the workers share it.

    Args:
        value_range: as for `decode`.
        apply_exif: likewise.
    """

    value_range: ValueRange | None = None
    apply_exif: bool = False
    _reported: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.bool).share_memory_(), repr=False)

    def __post_init__(self) -> None:
        jpeg_decoder()  # imported here, once, and not by each worker

    def __call__(self, path: str, *, shrinkage: Shrinkage | None = None) -> Tensor:
        """The pixels [3, H, W] of a file, see `decode`; how deep images are scaled is said once a run."""
        image = self.decode(read_file(path), path, shrinkage=shrinkage)
        if image.depth is not None and not self._reported[0]:
            self._reported[0] = True
            _log.info("%s: %s", path, self.scaling_of(image))
        return image.pixels

    def decode(self, content: bytearray, path: str, *, shrinkage: Shrinkage | None = None) -> DecodedImage:
        """The image that a file's content holds."""
        return decode(content, path, value_range=self.value_range, apply_exif=self.apply_exif, shrinkage=shrinkage)

    def scaling_of(self, image: DecodedImage) -> str:
        """How an image of more than 8 bits is brought to 8, in one line."""
        assert image.depth is not None
        if self.value_range is None:
            low, high, why = 0.0, image.depth.ceiling, "its type's range; data_loader.args.value_range states another"
        else:
            (low, high), why = self.value_range, "data_loader.args.value_range"
        return f"{image.kind}; such images are scaled from {low:,g} … {high:,g} to 0 … 255 ({why})"


@cache
def jpeg_decoder() -> Callable[[Tensor], Tensor] | None:
    """torchvision's decoder to three channels; None where torchvision has none.

    Its import takes seconds, so that who reads no image files does without it.
    """
    try:
        io = import_without_compiler("torchvision.io")
        return partial(io.decode_image, mode=io.ImageReadMode.RGB)
    except (ImportError, AttributeError):  # since 0.29 torchvision announces that its decoder will go
        return None


def _decode_plain_jpeg(content: bytearray, apply_exif: bool, shrinkage: Shrinkage | None) -> DecodedImage | None:
    """A JPEG of 8 bits with one or three components; None for all others: every decoder reads CMYK differently."""
    header = _jpeg_header(content)
    if header is None or header.precision != 8 or header.components not in (1, 3):
        return None
    if header.height * header.width > MOST_PIXELS:
        raise ValueError(f"{header.width} × {header.height} pixels; at most {MOST_PIXELS:,} are read")
    orientation = 1
    if apply_exif and header.has_metadata:
        with open_picture(content) as picture:
            orientation = orientation_of(picture)
    parts = 1 if shrinkage is None else _reduction(header, orientation, shrinkage)
    pixels = _decoded_at_part(content, parts) if parts > 1 else None
    if pixels is None:
        pixels = _decoded_whole(content)
    if pixels is None:
        return None
    kind = "8-bit grey" if header.components == 1 else "8-bit colour"
    return DecodedImage(pixels if orientation == 1 else upright(pixels, orientation), kind, None)


def _decoded_whole(content: bytearray) -> Tensor | None:
    """A JPEG's pixels [3, H, W] by torchvision's decoder; None where it can't: Pillow has the last word on that."""
    decoder = jpeg_decoder()
    if decoder is None:
        return None
    try:
        return decoder(torch.frombuffer(content, dtype=torch.uint8))
    except RuntimeError:
        return None


def _reduction(header: _JpegHeader, orientation: int, shrinkage: Shrinkage) -> int:
    """How many times smaller a JPEG may be decoded: 1, 2, 4 or 8."""
    sides = (header.width, header.height) if turns_sides(orientation) else (header.height, header.width)
    spare = shrinkage(*sides) / _SPARE
    return next((parts for parts in _REDUCTIONS if parts <= spare), 1)


def _decoded_at_part(content: bytearray, parts: int) -> Tensor | None:
    """A JPEG's pixels [3, ⌈H/parts⌉, ⌈W/parts⌉] by Pillow, at this part of its size; None where Pillow can't."""
    try:
        with open_picture(content) as picture:
            picture.draft(None, (max(1, picture.width // parts), max(1, picture.height // parts)))
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    except Exception:  # as of any damaged file; whether it can be read must not depend on the crop
        return None


class _JpegHeader(NamedTuple):
    precision: int
    height: int
    width: int
    components: int
    has_metadata: bool


def _jpeg_header(content: bytearray) -> _JpegHeader | None:
    """What the frame header of a JPEG says; None: there is none."""
    if content[:2] != b"\xff\xd8":
        return None
    position, end, has_metadata = 2, len(content) - 9, False
    while position < end and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _STANDALONE_MARKERS:
            position += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME:
            height, width = (_number(content, position + offset) for offset in (5, 7))
            return _JpegHeader(content[position + 4], height, width, content[position + 9], has_metadata)
        else:
            has_metadata = has_metadata or marker == _METADATA
            position += 2 + _number(content, position + 2)
    return None


def _number(content: bytearray, position: int) -> int:
    """Two bytes, the larger one first."""
    return int.from_bytes(content[position : position + 2], "big")


def _decode_with_pillow(content: bytearray, value_range: ValueRange | None, apply_exif: bool) -> DecodedImage:
    with open_picture(content) as picture:
        rgb, kind, depth = pixels_of(picture, content, value_range)
        orientation = orientation_of(picture) if apply_exif else 1  # asked after a TIFF has been turned by Pillow
    return DecodedImage(upright(torch.from_numpy(rgb).permute(2, 0, 1), orientation), kind, depth)

"""A picture of any mode and depth → red, green and blue of 8 bits, or a reason why that can't be done rightly.

What has 8 bits or less becomes what Pillow's `convert("RGB")` makes of it. Deeper values are scaled: from the limits
that the configuration states, else from the range of the file's type; Pillow alone would cut them off at 255.
"""

from __future__ import annotations

import io
import re
import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

ValueRange = tuple[float, float]

_FORMATS = ("BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP", "AVIF")
"""What Pillow may try: among the others are some that start programs."""
_KINDS = {"1": "1-bit", "L": "8-bit grey", "RGB": "8-bit colour", "P": "palette", "CMYK": "CMYK", "F": "float"}
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_DEEP_COLOUR = re.compile(r"(?P<mode>LA|RGB|RGBA|RGBX);16(?P<order>[BLN])")  # Pillow's names for files' modes
_BITS, _WHITE_OR_BLACK, _SAMPLES, _PLANES, _SAMPLE_FORMAT = 258, 262, 277, 284, 339  # TIFF's tags
_UNSIGNED, _WHITE_IS_ZERO = (1,), 0
_MOST_CHANNELS = 4


class Depth(NamedTuple):
    """Of an image with more than 8 bits.

    Attributes:
        low: its smallest value.
        high: its largest value.
        ceiling: the largest that its type can have: 65,535; 1 for floating point, and 0 where there is no such limit.
    """

    low: float
    high: float
    ceiling: float


class Pixels(NamedTuple):
    """A decoded image.

    Attributes:
        rgb: uint8, shape [H, W, 3].
        kind: what the file holds, as "16-bit grey".
        depth: None for 8 bits and less.
    """

    rgb: np.ndarray
    kind: str
    depth: Depth | None


def open_picture(content: bytearray) -> Image.Image:
    """An image file's picture; nothing is decoded yet.

    Raises:
        ValueError: it has several pages, or too many channels. A damaged file raises nearly anything.
    """
    picture = Image.open(io.BytesIO(content), formats=_formats())
    pages = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)  # cameras add previews to a JPEG
    if pages > 1:
        raise ValueError(f"{pages} pages or frames; an image has one")
    channels = _tag(picture, _SAMPLES, 1)
    if channels > _MOST_CHANNELS:
        raise ValueError(f"{channels} channels; at most {_MOST_CHANNELS} can be read")
    return picture


def pixels_of(picture: Image.Image, content: bytearray, value_range: ValueRange | None) -> Pixels:
    """Decode a picture.

    Args:
        picture: as `open_picture` returns it.
        content: the file's.
        value_range: of images deeper than 8 bits, what becomes 0 and 255; None: the range of their type.

    Raises:
        ValueError: its values can't be scaled rightly.
    """
    raw_mode, *options = _decoder_arguments(picture)
    kind = "8-bit with alpha" if picture.mode in _WITH_ALPHA else _KINDS.get(picture.mode, picture.mode)
    if picture.mode == "F" or picture.mode.startswith("I"):
        if _tag(picture, _WHITE_OR_BLACK, 1) == _WHITE_IS_ZERO:
            raise ValueError("its zero is white, which can't be read at more than 8 bits")
        largest = options[0] if picture.format == "PPM" and options and isinstance(options[0], int) else 65535
        values, ceiling = _grey_values(picture, largest)
        kind = "float" if picture.mode == "F" else f"{16 if ceiling else 32}-bit grey"
        return _scaled(values, kind, ceiling, value_range)
    if _tag(picture, _PLANES, 1) != 1 and max(_tag(picture, _BITS, (8,))) > 8:
        raise ValueError("its channels of more than 8 bits lie one after another, which can't be read")
    if deep := _DEEP_COLOUR.fullmatch(str(raw_mode)):
        kind = "16-bit grey with alpha" if deep["mode"] == "LA" else "16-bit colour"
        return _scaled(_colour_values(content, deep["mode"], deep["order"]), kind, 65535, value_range)
    return Pixels(np.array(picture.convert("RGB")), kind, None)


def _colour_values(content: bytearray, mode: str, order: str) -> np.ndarray:
    """The values [H, W, 1 or 3] of a picture with 16 bits a channel.

    Pillow unpacks 8 of them: the first byte where it is told that the larger comes first, else the second.
    """
    if mode == "LA":  # two bytes of grey and two of alpha: it takes four channels of 8 bits as well
        first, second = np.split(_unpacked(content, "RGBA")[:, :, :2], 2, axis=2)
    else:
        first, second = (_unpacked(content, f"{mode};16{of}")[:, :, :3] for of in "BL")
    larger_first = order == "B" or (order == "N" and sys.byteorder == "big")
    larger, smaller = (first, second) if larger_first else (second, first)
    return larger.astype(np.uint16) * 256 + smaller


def _unpacked(content: bytearray, raw_mode: str) -> np.ndarray:
    """The picture [H, W, C] in a file, unpacked as if its bytes were of another mode."""
    with open_picture(content) as picture:
        assert isinstance(picture, ImageFile)
        picture.tile = [
            tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
            for tile in picture.tile
        ]
        return np.asarray(picture)


def _grey_values(picture: Image.Image, largest: int) -> tuple[np.ndarray, float]:
    """The values [H, W] of a picture with one channel of more than 8 bits, and the largest that its type can have.

    `largest` is that of a PGM, by which Pillow has scaled it to 65,535.
    """
    values = np.asarray(picture)
    if picture.mode == "F":
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are no finite numbers")
        return values, 1.0
    if picture.mode.startswith("I;16"):
        return values, float(2 ** _tag(picture, _BITS, (16,))[0] - 1)  # 12 bits are read as 16, too
    if picture.format == "PPM":
        return np.rint(values * (largest / 65535)), float(largest)
    unsigned = picture.format == "TIFF" and _tag(picture, _SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED
    return values.view(np.uint32) if unsigned else values, 0.0


def _scaled(values: np.ndarray, kind: str, ceiling: float, value_range: ValueRange | None) -> Pixels:
    """Values [H, W] or [H, W, 1 or 3] brought to 0 … 255 and three channels."""
    depth = Depth(float(values.min()), float(values.max()), ceiling)
    if value_range is None:
        found = f"values from {depth.low:g} to {depth.high:g}"
        if not ceiling:
            told = "data_loader.args.value_range must state their limits"
            raise ValueError(f"32-bit or signed integers, {found}: {told}")
        if depth.low < 0 or depth.high > ceiling:
            told = f"0 to {ceiling:g} is read, or what data_loader.args.value_range states"
            raise ValueError(f"{kind} with {found}: {told}")
    low, high = (0.0, ceiling) if value_range is None else value_range
    exact = values.astype(np.result_type(values, np.float32))
    scaled = np.rint(np.clip((exact - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
    channels = scaled if scaled.ndim == 3 else scaled[:, :, None]
    return Pixels(np.repeat(channels, 3 // channels.shape[-1], axis=2), kind, depth)


def _decoder_arguments(picture: Image.Image) -> tuple[Any, ...]:
    """What Pillow's decoder is called with: the file's mode, then what is up to the format."""
    assert isinstance(picture, ImageFile)
    arguments = picture.tile[0].args if picture.tile else ""
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _tag(picture: Image.Image, number: int, default: Any) -> Any:
    """A TIFF's tag; the default for other formats."""
    return picture.tag_v2.get(number, default) if isinstance(picture, TiffImageFile) else default


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)

"""An image file → its pixels: what torchvision's `ImageFolder` loader (`Image.open(…).convert("RGB")`) would give.

Plain JPEGs (grey or three components, 8 bits) go through torchvision's decoder, which is faster and leaves the pixels
where they are needed; everything else (PNG, CMYK, palettes, 16 bits, …) and what that decoder refuses goes through
Pillow. As with `ImageFolder`, an EXIF orientation is not applied, and alpha is dropped.
"""

from __future__ import annotations

import io
import os
import warnings

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from utils.errors import UserError

try:
    from torchvision.io import ImageReadMode, decode_image
except ImportError:  # since 0.29 torchvision announces that its decoder will go
    decode_image = None

_STANDALONE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG markers without a length
_NOT_A_FRAME = frozenset((0xC4, 0xC8, 0xCC))  # among 0xC0 … 0xCF, the frame headers


class UnreadableImageError(UserError):
    """A file that is missing, empty, truncated or no image; the message names it and says which."""


def read_image(path: str) -> Tensor:
    """The pixels of an image file: uint8, shape [3, H, W].

    Raises:
        UnreadableImageError: the file is missing, empty, truncated or can't be decoded.
    """
    content = _read_bytes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's of metadata and transparency, torchvision's of its future
        if decode_image is not None and _is_plain_jpeg(content):
            try:
                return decode_image(torch.frombuffer(content, dtype=torch.uint8), ImageReadMode.RGB)
            except RuntimeError:
                pass  # Pillow has the last word on what can't be read
        try:
            return _decode_with_pillow(content)
        except Exception as error:  # a damaged file raises nearly anything
            reason = "not an image that Pillow knows" if isinstance(error, Image.UnidentifiedImageError) else error
            raise UnreadableImageError(f"{path}: can't be decoded ({reason})") from None


def _read_bytes(path: str) -> bytearray:
    try:
        with open(path, "rb", buffering=0) as file:
            content = bytearray(os.fstat(file.fileno()).st_size)
            filled = file.readinto(content)
            rest = file.read() if filled == len(content) else None  # a file that has grown, or a pipe
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: no such file") from None
    except OSError as error:
        raise UnreadableImageError(f"{path}: can't be read ({error.strerror or error})") from None
    del content[filled:]
    content += rest or b""
    if not content:
        raise UnreadableImageError(f"{path}: the file is empty")
    return content


def _is_plain_jpeg(content: bytearray) -> bool:
    """Whether this is a JPEG of 8 bits with one or three components: CMYK is read differently by every decoder."""
    if content[:2] != b"\xff\xd8":
        return False
    position, end = 2, len(content) - 9
    while position < end and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # padding
            position += 1
        elif marker in _STANDALONE_MARKERS:
            position += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME:
            precision, components = content[position + 4], content[position + 9]
            return precision == 8 and components in (1, 3)
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False


def _decode_with_pillow(content: bytearray) -> Tensor:
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.array(picture.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)  # [H, W, 3] → [3, H, W]

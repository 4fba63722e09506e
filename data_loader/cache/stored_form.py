"""An image as a cache stores it: shrunk, then as a JPEG or as pixels; and back."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_loader.cache.layout import Format
from data_loader.datasets.decoding import UnreadableImageError, decode
from data_loader.transforms.crops import resize, size_of_shorter

_QUALITY = 95
_JPEG = b"\xff\xd8"


def shrinkage_to(side: int, height: int, width: int) -> float:
    """How many times smaller, each way, `shrunk` makes an image of height × width."""
    return max(1.0, min(height, width) / side)


def shrunk(image: Tensor, side: int) -> Tensor:
    """An image [3, h, w] with the shorter side brought down to `side` pixels; as it is where it is no longer."""
    height, width = image.shape[1:]
    return image if min(height, width) <= side else resize(image, *size_of_shorter(height, width, side))


def stored_form(image: Tensor, source: bytearray, *, side: int, form: Format) -> tuple[Tensor, bytes]:
    """The image as it will be seen and the bytes to store.

    A JPEG that needn't be shrunk is stored as it is: encoded anew it would lose once more.

    Args:
        image: as the loader decodes it, uint8, shape [3, h, w].
        source: the content of its file.
        side: see `shrunk`.
        form: "jpeg" or "raw".

    Raises:
        OSError: the image is too long for a JPEG.
    """
    small = shrunk(image, side)
    if form == "jpeg" and small is image and _is_that_jpeg(source, image):
        return image, bytes(source)
    pixels = small.permute(1, 2, 0).contiguous().numpy()  # [3, H, W] → [H, W, 3], as decoders leave them
    if form == "raw":
        return small, pixels.tobytes()
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY)
    return small, encoded.getvalue()


def image_of(stored: np.ndarray, form: Format, height: int, width: int) -> Tensor:
    """The image [3, H, W] that bytes [L] of a cache hold, uint8; raw pixels are not copied.

    Raises:
        UnreadableImageError: they hold none.
    """
    if form == "raw":
        return torch.from_numpy(stored.reshape(height, width, 3)).permute(2, 0, 1)
    return decode(bytearray(stored), "cache").pixels


def _is_that_jpeg(source: bytearray, image: Tensor) -> bool:
    """Whether a file's content is a JPEG that shows the image by itself: not turned, nor its values scaled."""
    try:
        return source.startswith(_JPEG) and torch.equal(decode(source, "").pixels, image)
    except UnreadableImageError:
        return False

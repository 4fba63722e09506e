"""EXIF's orientation: how a picture must be turned or mirrored to stand upright (EXIF 2.3, tag 0x0112)."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

_TAG = 0x0112
_MIRRORED = (2, 4, 5, 7)  # left and right exchanged, before the turn
_QUARTERS = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}  # quarter turns to the left


def orientation_of(picture: Image.Image) -> int:
    """1 … 8; 1, which is upright, where the file says nothing or nonsense."""
    try:
        orientation = picture.getexif().get(_TAG, 1)
    except Exception:  # damaged metadata raises nearly anything, and the picture is as good as without
        return 1
    return orientation if orientation in range(1, 9) else 1


def turns_sides(orientation: int) -> bool:
    """Whether height becomes width."""
    return _QUARTERS.get(orientation, 0) % 2 == 1


def upright(image: Tensor, orientation: int) -> Tensor:
    """An image [3, h, w] that a file holds in an orientation, as it is to be seen: [3, h, w] or [3, w, h]."""
    if orientation in _MIRRORED:
        image = image.flip(2)
    return torch.rot90(image, _QUARTERS.get(orientation, 0), (1, 2))

"""torchvision's decoder, where there is one: faster than Pillow's, and it knows 16 bits a channel."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from torchvision.io import ImageReadMode, decode_image
except ImportError:  # since 0.29 torchvision announces that its decoder will go
    decode_image = None


def decode_with_torchvision(content: bytearray, *, to_rgb: bool) -> Tensor | None:
    """The pixels of an image file, [3, H, W], or with the file's own channels and depth, [C, H, W].

    None: there is no such decoder, or it can't read the file.
    """
    if decode_image is None:
        return None
    mode = ImageReadMode.RGB if to_rgb else ImageReadMode.UNCHANGED
    try:
        return decode_image(torch.frombuffer(content, dtype=torch.uint8), mode)
    except RuntimeError:
        return None

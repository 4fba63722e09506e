"""RandAugment as long-tailed recipes use it: two operations an image, each applied with probability one half.

(Cubuk et al., *RandAugment: Practical automated data augmentation with a reduced search space*, 2020.) The
operations are torchvision's, on Pillow images; `m` is a magnitude in 0 … 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from data_loader.transforms.image_policies import ImagePolicy, import_torchvision
from utils.random_streams import Stream, uniforms

if TYPE_CHECKING:
    from torchvision.transforms import InterpolationMode

OPERATIONS_PER_IMAGE = 2
PROBABILITY = 0.5
MAGNITUDE_MEAN, MAGNITUDE_STD, MAGNITUDE_MAX = 10.0, 0.5, 10.0
FILL = [124, 116, 104]  # round(255 · ImageNet's mean)
_DRAWS = 6  # for each operation


@dataclass(frozen=True)
class Draw:
    """What chance decides about one operation: its magnitude 0 … 10, sign ±1 and interpolation."""

    magnitude: float
    sign: int
    interpolation: InterpolationMode

    @property
    def part(self) -> float:
        """The magnitude on the scale 0 … 1."""
        return self.magnitude / MAGNITUDE_MAX

    @property
    def factor(self) -> float:
        """Of colour, contrast, brightness and sharpness: 0.1 + 1.8·m/10."""
        return 0.1 + 1.8 * self.part


def _torchvision() -> ModuleType:
    from torchvision.transforms import functional  # noqa: PLC0415 - see `import_torchvision`

    return functional


def _posterize(image: Image.Image, draw: Draw) -> Image.Image:
    bits = int(4 * draw.part)
    if not bits:
        return Image.new(image.mode, image.size)  # Pillow wants a bit at least
    return _torchvision().posterize(image, bits)


def _solarize_add(image: Image.Image, draw: Draw) -> Image.Image:
    added = int(110 * draw.part)
    return image.point([min(value + added, 255) if value < 128 else value for value in range(256)] * 3)


def _affine(image: Image.Image, draw: Draw, *, x: float = 0, y: float = 0, shear: bool = False) -> Image.Image:
    """Shear by the coefficients (x, y), from the upper left corner; or translate by these parts of the sides."""
    x, y = draw.sign * draw.part * x, draw.sign * draw.part * y
    return _torchvision().affine(
        image,
        angle=0.0,
        translate=[0, 0] if shear else [x * image.width, y * image.height],
        scale=1.0,
        shear=[math.degrees(math.atan(x)), math.degrees(math.atan(y))] if shear else [0.0, 0.0],
        interpolation=draw.interpolation,
        fill=FILL,
        center=[0, 0] if shear else None,
    )


OPERATIONS: dict[str, Callable[[Image.Image, Draw], Image.Image]] = {
    "AutoContrast": lambda image, draw: _torchvision().autocontrast(image),
    "Equalize": lambda image, draw: _torchvision().equalize(image),
    "Invert": lambda image, draw: _torchvision().invert(image),
    "Rotate": lambda image, draw: _torchvision().rotate(
        image, draw.sign * 30 * draw.part, draw.interpolation, fill=FILL
    ),
    "Posterize": _posterize,
    "Solarize": lambda image, draw: _torchvision().solarize(image, int(256 * draw.part)),
    "SolarizeAdd": _solarize_add,
    "Color": lambda image, draw: _torchvision().adjust_saturation(image, draw.factor),
    "Contrast": lambda image, draw: _torchvision().adjust_contrast(image, draw.factor),
    "Brightness": lambda image, draw: _torchvision().adjust_brightness(image, draw.factor),
    "Sharpness": lambda image, draw: _torchvision().adjust_sharpness(image, draw.factor),
    "ShearX": lambda image, draw: _affine(image, draw, x=0.3, shear=True),
    "ShearY": lambda image, draw: _affine(image, draw, y=0.3, shear=True),
    "TranslateX": lambda image, draw: _affine(image, draw, x=0.45),
    "TranslateY": lambda image, draw: _affine(image, draw, y=0.45),
}


@dataclass(frozen=True)
class RandAugment(ImagePolicy):
    """Two operations drawn with replacement, each applied with probability ½ at magnitude N(10, ½) clipped to 0 … 10.

    Args:
        seed: the run's seed.
    """

    seed: int

    def __post_init__(self) -> None:
        import_torchvision()

    def make_params(self, sample_ids: np.ndarray) -> list[list[tuple[str, Draw]]]:
        """The operations that are applied to each image of sample ids [B, 3], in order."""
        from torchvision.transforms import InterpolationMode  # noqa: PLC0415 - see `import_torchvision`

        names = list(OPERATIONS)
        numbers = uniforms(self.seed, Stream.POLICY, sample_ids, OPERATIONS_PER_IMAGE * _DRAWS)
        numbers = numbers.reshape(len(sample_ids), OPERATIONS_PER_IMAGE, _DRAWS)
        which, apply, radius, angle, sign, cubic = np.moveaxis(numbers, -1, 0)  # each [B, operations]
        normal = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)  # Box and Muller, 1958
        magnitudes = np.clip(MAGNITUDE_MEAN + MAGNITUDE_STD * normal, 0, MAGNITUDE_MAX)
        return [
            [
                (
                    names[int(which[row, i] * len(names))],
                    Draw(
                        float(magnitudes[row, i]),
                        1 if sign[row, i] < 0.5 else -1,
                        InterpolationMode.BICUBIC if cubic[row, i] < 0.5 else InterpolationMode.BILINEAR,
                    ),
                )
                for i in range(OPERATIONS_PER_IMAGE)
                if apply[row, i] < PROBABILITY
            ]
            for row in range(len(sample_ids))
        ]

    def change(self, picture: Image.Image, params: Sequence[tuple[str, Draw]]) -> Image.Image:
        """One image through its operations."""
        for name, draw in params:
            picture = OPERATIONS[name](picture, draw)
        return picture

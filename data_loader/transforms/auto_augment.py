"""AutoAugment's CIFAR-10 policy as the long recipes of CIFAR use it.

(Cubuk et al., *AutoAugment: Learning Augmentation Strategies from Data*, CVPR 2019.) The table of the policy is the
paper's. The operations are Pillow's at the values of the published recipes, which are not those of torchvision's
`AutoAugment`: that one fills with black, shears by the nearest pixel, cuts shifts to whole pixels, solarises from 255
down and rotates both ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from data_loader.transforms.image_policies import ImagePolicy
from utils.random_streams import Stream, uniforms

MAGNITUDE_MAX = 9
GREY = (128, 128, 128)  # what comes from outside the image

# (operation, probability, magnitude 0 … 9), twice: one of these pairs is drawn for each image
POLICY: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)
_OPERATIONS_PER_IMAGE = 2


@dataclass(frozen=True)
class Draw:
    """How an operation is applied: its magnitude 0 … 9 by the table, and the sign ±1 that chance decides."""

    magnitude: int
    sign: int

    @property
    def part(self) -> float:
        """The magnitude on the scale 0 … 1."""
        return self.magnitude / MAGNITUDE_MAX

    @property
    def factor(self) -> float:
        """Of colour, contrast, brightness and sharpness: 1 ± 0.9·m/9."""
        return 1 + self.sign * 0.9 * self.part


def _sheared(image: Image.Image, *, x: float = 0.0, y: float = 0.0) -> Image.Image:
    """Sheared by the coefficients (x, y) about the top left corner."""
    # Pillow's matrix leads from a pixel of the result to where it comes from
    matrix = (1, x, 0, y, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=GREY)


def _shifted(image: Image.Image, *, x: float = 0.0, y: float = 0.0) -> Image.Image:
    """Shifted by these parts of the sides; not cut to whole pixels, the nearest one is taken."""
    matrix = (1, 0, x * image.width, 0, 1, y * image.height)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=GREY)


OPERATIONS: dict[str, Callable[[Image.Image, Draw], Image.Image]] = {
    "ShearX": lambda image, draw: _sheared(image, x=draw.sign * 0.3 * draw.part),
    "ShearY": lambda image, draw: _sheared(image, y=draw.sign * 0.3 * draw.part),
    "TranslateX": lambda image, draw: _shifted(image, x=draw.sign * 150 / 331 * draw.part),
    "TranslateY": lambda image, draw: _shifted(image, y=draw.sign * 150 / 331 * draw.part),
    "Rotate": lambda image, draw: image.rotate(30 * draw.part, Image.Resampling.NEAREST, fillcolor=GREY),
    "Color": lambda image, draw: ImageEnhance.Color(image).enhance(draw.factor),
    "Contrast": lambda image, draw: ImageEnhance.Contrast(image).enhance(draw.factor),
    "Brightness": lambda image, draw: ImageEnhance.Brightness(image).enhance(draw.factor),
    "Sharpness": lambda image, draw: ImageEnhance.Sharpness(image).enhance(draw.factor),
    "Posterize": lambda image, draw: ImageOps.posterize(image, round(8 - 4 * draw.part)),
    "Solarize": lambda image, draw: ImageOps.solarize(image, math.ceil(256 * (1 - draw.part))),
    "AutoContrast": lambda image, draw: ImageOps.autocontrast(image),
    "Equalize": lambda image, draw: ImageOps.equalize(image),
    "Invert": lambda image, draw: ImageOps.invert(image),
}


@dataclass(frozen=True)
class AutoAugment(ImagePolicy):
    """A pair of operations drawn from the policy's 25, each applied with its probability.

    Args:
        seed: the run's seed.
    """

    seed: int

    def make_params(self, sample_ids: np.ndarray) -> list[list[tuple[str, Draw]]]:
        """The operations that are applied to each image of sample ids [B, 3], in order."""
        numbers = uniforms(self.seed, Stream.POLICY, sample_ids, 1 + 2 * _OPERATIONS_PER_IMAGE)
        which = (numbers[:, 0] * len(POLICY)).astype(np.int64)
        chances, coins = numbers[:, 1:].reshape(-1, 2, _OPERATIONS_PER_IMAGE).transpose(1, 0, 2)  # each [B, operations]
        return [
            [
                (name, Draw(magnitude, 1 if coin < 0.5 else -1))
                for (name, probability, magnitude), chance, coin in zip(POLICY[pair], *row, strict=True)
                if chance < probability
            ]
            for pair, *row in zip(which, chances, coins, strict=True)
        ]

    def change(self, picture: Image.Image, params: Sequence[tuple[str, Draw]]) -> Image.Image:
        """One image through its operations."""
        for name, draw in params:
            picture = OPERATIONS[name](picture, draw)
        return picture

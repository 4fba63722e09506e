"""AutoAugment of CIFAR's long recipes: the published table, and operations at the published values."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms

from data_loader.transforms.auto_augment import OPERATIONS, POLICY, AutoAugment, Draw

SIDE = 32
GEOMETRY = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
WITHOUT_MAGNITUDE = {"AutoContrast", "Equalize", "Invert"}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def pictures(count: int, low: int = 0, high: int = 256, seed: int = 0) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(low, high, (SIDE, SIDE, 3), np.uint8)) for _ in range(count)]


def smooth_picture(random: np.random.Generator) -> Image.Image:
    """A few pixels enlarged, within a range of its own: nearer to a photograph than noise is."""
    low, high = sorted(random.integers(0, 256, 2))
    small = random.integers(low, high + 1, (int(random.integers(2, 9)), 5, 3), np.uint8)
    return Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def keys_of(count: int) -> np.ndarray:
    sample_ids = np.zeros((count, 3), np.int64)
    sample_ids[:, 0], sample_ids[:, 1] = 3, np.arange(count)
    return sample_ids


def on_grey(image: Image.Image, moved: Image.Image) -> Image.Image:
    """A transparent image laid on grey 128."""
    ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
    return Image.composite(moved, ground, moved).convert("RGB")


def reference(image: Image.Image, name: str, m: int, sign: int) -> Image.Image:
    """The published value of each operation in Pillow's terms: transparent ground, blending, tables of 256 entries."""
    opaque, enhancement = image.convert("RGBA"), 1 + sign * 0.9 * m / 9
    shear, shift = sign * 0.3 * m / 9, sign * 150 / 331 * SIDE * m / 9
    matrices = {
        "ShearX": ((1, shear, 0, 0, 1, 0), Image.Resampling.BICUBIC),
        "ShearY": ((1, 0, 0, shear, 1, 0), Image.Resampling.BICUBIC),
        "TranslateX": ((1, 0, shift, 0, 1, 0), Image.Resampling.NEAREST),
        "TranslateY": ((1, 0, 0, 0, 1, shift), Image.Resampling.NEAREST),
    }
    if name in matrices:
        matrix, resampling = matrices[name]
        return on_grey(image, opaque.transform(image.size, Image.Transform.AFFINE, matrix, resampling))
    if name == "Rotate":
        return on_grey(image, opaque.rotate(30 * m / 9))
    if name == "Posterize":
        kept = 256 - 2 ** (8 - (8, 8, 7, 7, 6, 6, 5, 5, 4, 4)[m])
        return image.point([value & kept for value in range(256)] * 3)
    if name == "Solarize":  # 9·value < 256·(9 − m) in whole numbers
        return image.point([value if 9 * value < 256 * (9 - m) else 255 - value for value in range(256)] * 3)
    if name == "Invert":
        return image.point([255 - value for value in range(256)] * 3)
    if name in ("AutoContrast", "Equalize"):
        return getattr(ImageOps, name.lower())(image)
    luminance = image.convert("L")
    plain = {
        "Color": lambda: luminance.convert("RGB"),
        "Contrast": lambda: Image.new("RGB", image.size, (int(pixels(luminance).mean() + 0.5),) * 3),
        "Brightness": lambda: Image.new("RGB", image.size),
        "Sharpness": lambda: image.filter(ImageFilter.SMOOTH),
    }[name]()
    return Image.blend(plain, image, enhancement)


def test_ten_thousand_forced_pairs_of_operations_are_the_references() -> None:
    random, names = np.random.default_rng(1), list(OPERATIONS)
    noise, policy, checked = pictures(20), AutoAugment(1), Counter[str]()
    for i in range(10_000):
        image = noise[i % 20] if i % 2 else smooth_picture(random)
        expected = image
        forced = [
            (names[random.integers(len(names))], Draw(int(random.integers(10)), int(random.choice([-1, 1]))))
            for _ in range(2)
        ]
        for name, draw in forced:
            expected = reference(expected, name, draw.magnitude, draw.sign)
            checked[name] += 1
        found = policy.change(image, forced)
        assert np.array_equal(pixels(found), pixels(expected)), forced
    assert set(checked) == set(names)


def test_the_table_is_the_published_one() -> None:
    published = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10).policies
    assert [tuple((name, p, m or 0) for name, p, m in pair) for pair in published] == list(POLICY)


@pytest.mark.parametrize(("magnitude", "shift"), [(8, 13), (9, 15), (3, 5)])
@pytest.mark.parametrize("sign", [1, -1])
def test_shifts_are_13_15_and_5_pixels_of_32(magnitude: int, shift: int, sign: int) -> None:
    (image,) = pictures(1)
    given, draw = pixels(image), Draw(magnitude, sign)
    along_x = np.full_like(given, 128)
    along_y = along_x.copy()
    if sign == 1:
        along_x[:, :-shift], along_y[:-shift] = given[:, shift:], given[shift:]
    else:
        along_x[:, shift:], along_y[shift:] = given[:, :-shift], given[:-shift]
    assert np.array_equal(pixels(OPERATIONS["TranslateX"](image, draw)), along_x)
    assert np.array_equal(pixels(OPERATIONS["TranslateY"](image, draw)), along_y)


def test_rotation_has_one_direction_whatever_the_sign() -> None:
    (image,) = pictures(1)
    for m in range(10):
        found = {sign: pixels(OPERATIONS["Rotate"](image, Draw(m, sign))) for sign in (1, -1)}
        assert np.array_equal(found[1], found[-1])
    # counter-clockwise: what stands right of the centre rises, by 15·sin 30° = 7.5 pixels where it stood 15 off
    spot = np.zeros((SIDE, SIDE, 3), np.uint8)
    spot[15:17, 30:32] = 255
    turned = pixels(OPERATIONS["Rotate"](Image.fromarray(spot), Draw(9, 1)))[..., 0]
    rows, columns = np.nonzero(turned == 255)
    assert rows.mean() == pytest.approx(15.5 - 15 * math.sin(math.pi / 6), abs=1)
    assert columns.mean() == pytest.approx(15.5 + 15 * math.cos(math.pi / 6), abs=1)


@pytest.mark.parametrize(("m", "last"), [(0, 255), (2, 199), (3, 170), (5, 113), (8, 28), (9, -1)])
def test_solarize_inverts_from_256_times_1_minus_a_ninth_of_the_magnitude_on(m: int, last: int) -> None:
    # 256·(7/9) = 199.1, 256·(6/9) = 170.7, 256·(4/9) = 113.8, 256/9 = 28.4
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    values = np.arange(256)
    found = pixels(OPERATIONS["Solarize"](ramp, Draw(m, 1)))[0, :, 0]
    assert np.array_equal(found, np.where(values <= last, values, 255 - values))


def test_shear_is_about_the_top_left_corner_and_smooth() -> None:
    ramp = Image.fromarray(np.broadcast_to(np.arange(0, 160, 5, np.uint8)[None, :, None], (SIDE, SIDE, 3)).copy())
    found = pixels(OPERATIONS["ShearX"](ramp, Draw(9, 1))).astype(int)
    # 0.3·(y + ½) pixels from the right; the ramp climbs 5 a pixel, and bicubic interpolation keeps a straight line
    for y in (0, 10, 20):
        assert found[y, 5:15, 0] == pytest.approx(5 * np.arange(5, 15) + 5 * 0.3 * (y + 0.5), abs=1)


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_brings_in_grey_and_no_black(name: str) -> None:
    for image in pictures(10, 100, 120):
        for sign in (1, -1):
            found = pixels(OPERATIONS[name](image, Draw(9, sign)))
            assert (found == 128).all(axis=2).mean() > 0.05
            assert found.min() > 60


def test_outside_pixels_are_grey_in_the_composition() -> None:
    bright = torch.full((4000, 3, SIDE, SIDE), 200, dtype=torch.uint8)
    made = AutoAugment(1)(bright, keys_of(4000)).numpy()
    grey = (made == 128).all(axis=1).mean()
    # pair 22 of 25 alone: it shifts by 15 of 32 rows with probability 0.9, and again, either way, with 0.7
    once = 0.9 * 0.3 + 0.1 * 0.7
    assert grey > once * 15 / 32 / 25


def test_operations_are_drawn_as_often_as_the_table_says() -> None:
    count = 50_000
    drawn = AutoAugment(4).make_params(keys_of(count))
    found = Counter((name, draw.magnitude) for operations in drawn for name, draw in operations)
    expected = Counter[tuple[str, int]]()
    for pair in POLICY:
        for name, probability, magnitude in pair:
            expected[name, magnitude] += probability / len(POLICY)
    for key, share in expected.items():
        assert found[key] / count == pytest.approx(share, abs=5 * math.sqrt(2 * share / count)), key
    signs = np.array([draw.sign for operations in drawn for _, draw in operations])
    assert abs(signs.mean()) < 5 / math.sqrt(len(signs))
    assert set(signs) == {-1, 1}
    in_order = {(first[0], second[0]) for first, second in POLICY}
    assert {tuple(name for name, _ in operations) for operations in drawn if len(operations) == 2} <= in_order


def test_operations_without_a_magnitude_have_none() -> None:
    assert {name for pair in POLICY for name, _, m in pair if m == 0} - {"Color"} == WITHOUT_MAGNITUDE

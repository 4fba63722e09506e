import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from data_loader.transforms.rand_augment import OPERATIONS, Draw, RandAugment
from tests.data_loader.image_trees import digit_picture

FILL = (124, 116, 104)
BILINEAR, BICUBIC = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
PILLOW = {BILINEAR: Image.Resampling.BILINEAR, BICUBIC: Image.Resampling.BICUBIC}


def keys_of(count: int) -> np.ndarray:
    sample_ids = np.zeros((count, 3), np.int64)
    sample_ids[:, 1] = np.arange(count)
    return sample_ids


@pytest.fixture
def image() -> Image.Image:
    return digit_picture(8, 2).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("magnitude", [10.0, 7.3, 3.0])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AutoContrast", lambda image, m: F.autocontrast(image)),
        ("Equalize", lambda image, m: F.equalize(image)),
        ("Invert", lambda image, m: F.invert(image)),
        ("Posterize", lambda image, m: F.posterize(image, math.floor(4 * m / 10))),
        ("Solarize", lambda image, m: F.solarize(image, math.floor(256 * m / 10))),
        ("Color", lambda image, m: F.adjust_saturation(image, 0.1 + 0.18 * m)),
        ("Contrast", lambda image, m: F.adjust_contrast(image, 0.1 + 0.18 * m)),
        ("Brightness", lambda image, m: F.adjust_brightness(image, 0.1 + 0.18 * m)),
        ("Sharpness", lambda image, m: F.adjust_sharpness(image, 0.1 + 0.18 * m)),
        ("Color", lambda image, m: ImageEnhance.Color(image).enhance(0.1 + 0.18 * m)),
        ("Solarize", lambda image, m: ImageOps.solarize(image, int(25.6 * m))),
    ],
)
def test_colour_operations_are_torchvisions_at_the_published_magnitudes(image, name, expected, magnitude):
    found = OPERATIONS[name](image, Draw(magnitude, 1, BILINEAR))
    np.testing.assert_array_equal(pixels(found), pixels(expected(image, magnitude)))


@pytest.mark.parametrize("interpolation", [BILINEAR, BICUBIC])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", [10.0, 4.0])
def test_geometry_is_pillows_affine_map_with_empty_pixels_filled(image, magnitude, sign, interpolation):
    part, side, resample = sign * magnitude / 10, 32, PILLOW[interpolation]
    # output pixel (x, y) comes from (a·x + b·y + c, d·x + e·y + f)
    maps = {
        "ShearX": (1, 0.3 * part, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, 0.3 * part, 1, 0),
        "TranslateX": (1, 0, -0.45 * part * side, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, -0.45 * part * side),
    }
    for name, coefficients in maps.items():
        expected = image.transform(image.size, Image.Transform.AFFINE, coefficients, resample, fillcolor=FILL)
        found = OPERATIONS[name](image, Draw(magnitude, sign, interpolation))
        np.testing.assert_allclose(pixels(found), pixels(expected), atol=1, err_msg=name)
    expected = image.rotate(30 * part, resample, fillcolor=FILL)
    np.testing.assert_array_equal(
        pixels(OPERATIONS["Rotate"](image, Draw(magnitude, sign, interpolation))), pixels(expected)
    )


def test_what_moves_in_is_the_mean_of_imagenet(image):
    moved = pixels(OPERATIONS["TranslateX"](image, Draw(10.0, 1, BILINEAR)))
    assert (moved[:, 0] == FILL).all()
    assert tuple(round(255 * mean) for mean in (0.485, 0.456, 0.406)) == FILL


def test_solarize_add_lifts_the_dark_half_only():
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    found = pixels(OPERATIONS["SolarizeAdd"](ramp, Draw(10.0, 1, BILINEAR)))[0, :, 0]
    np.testing.assert_array_equal(found[:128], np.arange(128) + 110)
    np.testing.assert_array_equal(found[128:], np.arange(128, 256))


def test_posterize_without_bits_is_black_and_solarize_at_ten_changes_nothing(image):
    assert pixels(OPERATIONS["Posterize"](image, Draw(2.4, 1, BILINEAR))).max() == 0
    np.testing.assert_array_equal(pixels(OPERATIONS["Solarize"](image, Draw(10.0, 1, BILINEAR))), pixels(image))


def test_draws_have_the_published_distribution():
    params = RandAugment(seed=1).make_params(keys_of(8000))
    assert len(OPERATIONS) == 15
    counts = np.bincount([len(operations) for operations in params]) / 8000
    np.testing.assert_allclose(counts, [0.25, 0.5, 0.25], atol=0.02)
    flat = [pair for operations in params for pair in operations]
    names, share = np.unique([name for name, _ in flat], return_counts=True)
    assert set(names) == set(OPERATIONS)
    np.testing.assert_allclose(share / len(flat), 1 / 15, atol=0.01)
    magnitudes = np.array([draw.magnitude for _, draw in flat])
    assert magnitudes.max() == 10
    np.testing.assert_allclose((magnitudes == 10).mean(), 0.5, atol=0.02)  # N(10, ½), clipped from above
    np.testing.assert_allclose(np.sqrt(((magnitudes[magnitudes < 10] - 10) ** 2).mean()), 0.5, atol=0.02)
    for attribute, value in (("sign", 1), ("interpolation", BICUBIC)):
        share = np.mean([getattr(draw, attribute) == value for _, draw in flat])
        np.testing.assert_allclose(share, 0.5, atol=0.02)


def test_an_image_is_transformed_the_same_whatever_its_batch():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8))
    whole = RandAugment(seed=2)(images, keys_of(40))
    assert whole.dtype == torch.uint8
    assert whole.is_contiguous()
    assert not torch.equal(whole, images)
    some = np.array([30, 1, 12])
    assert torch.equal(RandAugment(seed=2)(images[some], keys_of(40)[some]), whole[some])

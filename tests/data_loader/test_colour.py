import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as F

from data_loader.transforms import colour
from data_loader.transforms.batch_transforms import HorizontalFlip
from data_loader.transforms.colour import ColourJitter

ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)


@pytest.fixture(params=["functions in C", "tensors"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of computing the same."""
    if request.param == "tensors":
        monkeypatch.setattr(colour, "_functions", lambda: None)
    elif colour._functions() is None:
        pytest.skip("no C compiler")


def kinds_of(steps: np.ndarray) -> np.ndarray:
    """Steps (f, c, s) as 0, 1, 2: brightness, contrast, saturation."""
    return np.where(steps[..., 1] != 0, 1, np.where(steps[..., 2] != 0, 2, 0))


def named(steps: np.ndarray) -> list:
    """The steps (f, c, s) of an image as torchvision's functions and their factors."""
    return [(ADJUST[kind], float(step[0])) for step, kind in zip(steps, kinds_of(steps), strict=True)]


def keys_of(count: int, *, epoch: int = 0) -> np.ndarray:
    sample_ids = np.zeros((count, 3), np.int64)
    sample_ids[:, 0], sample_ids[:, 1] = epoch, np.arange(count)
    return sample_ids


@pytest.fixture
def images() -> Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (60, 3, 12, 10), dtype=np.uint8))


@pytest.mark.usefixtures("way")
def test_jitter_is_torchvisions_adjustments_in_the_drawn_order(images):
    jitter, sample_ids = ColourJitter(seed=4, strength=0.4), keys_of(len(images))
    found = jitter(images, sample_ids)
    for image, result, steps in zip(images, found, jitter.make_params(sample_ids), strict=True):
        expected = image.float() / 255
        for adjust, factor in named(steps):
            expected = adjust(expected, factor)
        assert (expected * 255 - result).abs().max() <= 0.01  # both in floating point, on other scales


@pytest.mark.usefixtures("way")
def test_jitter_stays_near_torchvisions_uint8_steps(images):
    jitter, sample_ids = ColourJitter(seed=4, strength=0.4), keys_of(len(images))
    found = jitter(images, sample_ids)
    for image, result, steps in zip(images, found, jitter.make_params(sample_ids), strict=True):
        for adjust, factor in named(steps):
            image = adjust(image, factor)  # noqa: PLW2901 - truncates after each step
        assert (image - result).abs().max() <= 4


def test_factors_are_uniform_and_all_orders_equally_likely():
    steps = ColourJitter(seed=1, strength=0.4).make_params(keys_of(6000))
    factors = steps[:, :, 0].astype(float)
    orders = (kinds_of(steps) * [9, 3, 1]).sum(1)
    assert factors.min() >= 0.6 - 1e-6
    assert factors.max() <= 1.4 + 1e-6
    np.testing.assert_allclose(factors.mean(0), 1.0, atol=0.02)
    np.testing.assert_allclose(factors.std(0), 0.8 / np.sqrt(12), atol=0.01)
    np.testing.assert_allclose(np.unique(orders, return_counts=True)[1] / 6000, [1 / 6] * 6, atol=0.02)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("transform", [ColourJitter(seed=2, strength=0.4), HorizontalFlip(seed=2)])
def test_an_image_is_transformed_the_same_whatever_its_batch(images, transform):
    sample_ids = keys_of(len(images), epoch=5)
    whole = transform(images, sample_ids)
    some = np.array([40, 3, 17])
    assert torch.equal(transform(images[some], sample_ids[some]), whole[some])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("transform", [ColourJitter(seed=2, strength=0.4), HorizontalFlip(seed=2)])
def test_the_batch_given_is_left_alone(images, transform, dtype):
    images = images.to(dtype)
    before = images.clone()
    transform(images, keys_of(len(images)))
    assert torch.equal(images, before)


def test_the_layout_of_the_batch_makes_no_difference_and_is_kept(images):
    transform, sample_ids = ColourJitter(seed=2, strength=0.4), keys_of(len(images))
    found = transform(images.contiguous(memory_format=torch.channels_last), sample_ids)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - transform(images, sample_ids)).abs().max() <= 0.01  # means are summed in another order


@pytest.mark.parametrize("side", [1, 7, 33, 100])
def test_both_ways_give_the_same_pixels_at_every_size(side: int) -> None:
    """Sides whose pixels fill no register, and more than one block."""
    if colour._functions() is None:
        pytest.skip("no C compiler")
    pixels = 255 * torch.rand(40, 3, side, side, generator=torch.Generator().manual_seed(0))
    ours, plain = pixels.clone(), pixels.clone()
    params = ColourJitter(seed=2, strength=0.9).make_params(keys_of(40))
    colour._jitter(colour._functions(), ours, params)
    colour._jitter_by_tensors(plain, params)
    assert (ours - plain).abs().max() < 1e-3


def test_half_of_the_images_are_mirrored_and_the_others_are_not_touched(images):
    images = images.repeat(20, 1, 1, 1)
    found = HorizontalFlip(seed=3)(images, keys_of(len(images)))
    same, mirrored = ((found == other).flatten(1).all(1) for other in (images, F.hflip(images)))
    assert torch.equal(same, ~mirrored)
    assert 0.45 < mirrored.float().mean() < 0.55


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_makes_no_difference(images):
    transform, sample_ids = ColourJitter(seed=2, strength=0.4), keys_of(len(images))
    on_gpu = transform(images.cuda(), sample_ids).cpu()
    assert (on_gpu - transform(images, sample_ids)).abs().max() <= 0.01

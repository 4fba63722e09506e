import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop
from torchvision.transforms import functional as F

from data_loader.transforms.crops import CentreCrop, RandomResizedCrop, resize
from tests.data_loader.image_trees import digit_picture

RESIZE_BOUND = 1  # of 255, against Pillow


def keys_of(count: int, *, epoch: int = 0) -> np.ndarray:
    sample_ids = np.zeros((count, 3), np.int64)
    sample_ids[:, 0], sample_ids[:, 1] = epoch, np.arange(count)
    return sample_ids


def picture(width: int, height: int) -> Image.Image:
    return digit_picture(5, 1).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def pixels_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (64, 64), (90, 400)])
def test_boxes_are_distributed_as_torchvisions(height, width):
    crop = RandomResizedCrop(seed=3, size=224)
    ours = np.array([crop.box(height, width, params) for params in crop.make_params(keys_of(4000))], float)
    image = torch.empty(1, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = np.array([TorchvisionCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)], float)
    for column in range(4):
        deciles = (np.quantile(boxes[:, column], np.linspace(0.05, 0.95, 19)) for boxes in (ours, theirs))
        side = (height, width, height, width)[column]
        assert np.abs(np.subtract(*deciles)).max() < 0.05 * side


def test_boxes_lie_in_the_image_with_area_and_ratio_in_bounds():
    crop = RandomResizedCrop(seed=1, size=32)
    for params in crop.make_params(keys_of(2000)):
        box = crop.box(300, 400, params)
        assert 0 <= box.top <= 300 - box.height
        assert 0 <= box.left <= 400 - box.width
        assert 0.079 * 300 * 400 <= box.height * box.width <= 300 * 400
        assert 3 / 4 * 0.98 <= box.width / box.height <= 4 / 3 * 1.02


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10)), (300, 300, (0, 0, 300, 300))],
)
def test_when_no_try_fits_the_central_crop_of_an_admitted_ratio_is_taken(height, width, expected):
    crop = RandomResizedCrop(seed=1, size=32, scale=(1.5, 2.0))  # never fits
    assert tuple(crop.box(height, width, crop.make_params(keys_of(1))[0])) == expected


def test_a_crop_is_resized_as_pillow_resizes_it():
    crop, image = RandomResizedCrop(seed=2, size=32), picture(80, 60)
    for params in crop.make_params(keys_of(20)):
        box = crop.box(60, 80, params)
        expected = F.resized_crop(image, *box, size=[32, 32])
        found = crop(pixels_of(image), params)
        assert found.shape == (3, 32, 32)
        assert (found.int() - pixels_of(expected).int()).abs().max() <= RESIZE_BOUND


@pytest.mark.parametrize("size", [(80, 60), (60, 80), (33, 33), (257, 90)])
def test_the_middle_is_what_torchvisions_resize_and_centre_crop_give(size):
    image = picture(*size)
    expected = pixels_of(F.center_crop(F.resize(image, 37), [32, 32]))
    found = CentreCrop(size=32, resized=37)(pixels_of(image), np.empty(0))
    assert (found.int() - expected.int()).abs().max() <= RESIZE_BOUND


def test_a_crop_depends_on_seed_epoch_and_index_alone():
    crop = RandomResizedCrop(seed=7, size=32)
    params = crop.make_params(keys_of(8, epoch=2))
    np.testing.assert_array_equal(crop.make_params(keys_of(8, epoch=2)[[5]]), params[[5]])
    assert not np.array_equal(crop.make_params(keys_of(8, epoch=3)), params)
    assert not np.array_equal(RandomResizedCrop(seed=8, size=32).make_params(keys_of(8, epoch=2)), params)


def test_resizing_to_the_same_size_changes_nothing():
    pixels = pixels_of(picture(24, 20))
    assert torch.equal(resize(pixels, 20, 24), pixels)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_image_of_the_right_size_is_what_resizing_would_leave(layout: torch.memory_format) -> None:
    image = torch.randint(0, 256, (1, 3, 31, 40), dtype=torch.uint8).contiguous(memory_format=layout)[0]
    resized = torch.nn.functional.interpolate(image[None], size=(31, 40), mode="bilinear", antialias=True)[0]
    assert torch.equal(resize(image, 31, 40), resized)

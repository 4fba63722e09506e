"""Transforms of whole batches against torchvision's of single images, and their independence from the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, Normalize
from torchvision.transforms import functional as F

from data_loader.transforms.batch_transforms import BatchTransform, CropFlipRotate, Cutout, Normalise
from tests.data_loader.batches import ids_of, pictures
from utils.random_streams import Stream, uniforms

SEED = 3
CIFAR = CropFlipRotate(SEED, padding=4, flip=True, degrees=15.0)
RANDOM = [CIFAR, CropFlipRotate(SEED, 2, False, 10.0), CropFlipRotate(SEED, 4, True, 0.0), Cutout(SEED, 16)]


def by_hand(transform: CropFlipRotate, images: Tensor, sample_ids: np.ndarray) -> Tensor:
    """Padding, crop, flip and rotation one after the other, image by image, by torchvision."""
    made = []
    height, width = images.shape[-2:]
    for image, draw in zip(images, uniforms(transform.seed, Stream.GEOMETRY, sample_ids, 4), strict=True):
        top, left = (int(draw[axis] * (2 * transform.padding + 1)) for axis in (0, 1))
        moved = F.crop(F.pad(image, [transform.padding] * 4), top, left, height, width)
        if transform.flip and draw[2] < 0.5:
            moved = F.hflip(moved)
        angle = (2 * draw[3] - 1) * transform.degrees
        made.append(F.rotate(moved, angle, InterpolationMode.NEAREST) if transform.degrees else moved)
    return torch.stack(made)


# --- crop, flip, rotation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (4, False), (0, True), (2, False)])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 16), (9, 14)])
def test_without_rotation_it_is_pad_crop_and_flip(padding: int, flip: bool, height: int, width: int) -> None:
    images, sample_ids = pictures(64, height, width), ids_of(64)
    transform = CropFlipRotate(SEED, padding, flip, 0.0)
    moved = transform(images, sample_ids)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, by_hand(transform, images, sample_ids))


@pytest.mark.parametrize(("transform", "side"), [(CIFAR, 32), (CropFlipRotate(SEED, 2, False, 10.0), 16)])
def test_with_rotation_it_is_torchvisions_nearest_rotation_after_the_crop_and_flip(
    transform: CropFlipRotate, side: int
) -> None:
    images, sample_ids = pictures(256, side, side), ids_of(256)
    moved, expected = transform(images, sample_ids), by_hand(transform, images, sample_ids)
    # where a source position falls between two pixels to within float32's rounding, either may be taken: torchvision
    # computes it in coordinates scaled to −1 … 1 and rounds halves to even, here they are pixels and halves go up
    assert (moved != expected).any(dim=1).float().mean() < 0.005


def test_a_quarter_turn_is_exact() -> None:
    sample_ids = ids_of(4000)
    params = uniforms(SEED, Stream.GEOMETRY, sample_ids, 4)[:, 3]
    for chosen, turns in ((params > 0.998, 1), (params < 0.002, -1)):  # within 0.4° of ±90° no pixel moves half a pixel
        images = pictures(int(chosen.sum()), 8, 8)
        assert len(images) > 1
        moved = CropFlipRotate(SEED, 0, False, 90.0)(images, sample_ids[chosen])
        assert torch.equal(moved, torch.rot90(images, turns, dims=(2, 3)))


def test_nothing_to_do_changes_nothing() -> None:
    images, sample_ids = pictures(32), ids_of(32)
    moved = CropFlipRotate(SEED, 0, False, 0.0)(images, sample_ids)
    assert torch.equal(moved, images)
    assert moved.data_ptr() != images.data_ptr()


def test_every_offset_and_both_directions_occur_equally_often() -> None:
    side = 8
    image = torch.arange(1, side * side + 1, dtype=torch.uint8).view(1, 1, side, side).expand(1, 3, side, side)
    count = 9 * 9 * 2 * 50
    moved = CropFlipRotate(SEED, 4, True, 0.0)(image.expand(count, -1, -1, -1), ids_of(count))[:, 0]
    _, kinds = torch.unique(moved.flatten(1), dim=0, return_counts=True)
    assert len(kinds) == 9 * 9 * 2
    chi_square = float(((kinds - 50) ** 2 / 50).sum())
    assert 109 < chi_square < 226  # 161 degrees of freedom: outside with probability 0.001; the seed is fixed


def test_angles_fill_the_range_evenly() -> None:
    """The mean |angle| seen through how far a far-off pixel has moved: recovered from the rotated image itself."""
    side, count = 65, 400
    image = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    image[:, :, 32, 56:] = 255  # a ray from 24 to 32 pixels right of the centre
    turned = CropFlipRotate(SEED, 0, False, 15.0)(image.expand(count, -1, -1, -1), ids_of(count))[:, 0].float()
    y = ((turned * (torch.arange(side) - 32.0)[:, None]).sum((1, 2)) / turned.sum((1, 2))).numpy()
    x = ((turned * (torch.arange(side) - 32.0)).sum((1, 2)) / turned.sum((1, 2))).numpy()
    angles = np.rad2deg(np.arctan2(y, x))
    assert np.abs(angles).max() < 16
    assert np.abs(angles).max() > 14
    assert abs(np.abs(angles).mean() - 7.5) < 0.75  # a uniform |angle| on 0 … 15: standard error 0.22


# --- independence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", RANDOM, ids=str)
def test_an_image_does_not_depend_on_its_batch_or_place(transform: BatchTransform) -> None:
    images, sample_ids = pictures(24), ids_of(24)
    together = transform(images, sample_ids)
    order = np.random.default_rng(0).permutation(24)
    assert torch.equal(transform(images[order], sample_ids[order]), together[order])
    parts = [transform(images[part], sample_ids[part]) for part in (slice(0, 1), slice(1, 10), slice(10, 24))]
    assert torch.equal(torch.cat(parts), together)


@pytest.mark.parametrize("transform", RANDOM, ids=str)
@pytest.mark.parametrize("column", [0, 1, 2], ids=["epoch", "index", "repeat"])
def test_epoch_index_and_repeat_each_change_the_augmentation(transform: BatchTransform, column: int) -> None:
    images, sample_ids = pictures(1).expand(50, -1, -1, -1).clone(), np.zeros((50, 3), np.int64)
    sample_ids[:, column] = np.arange(50)
    kinds = torch.unique(transform(images, sample_ids).flatten(1), dim=0)
    assert len(kinds) > 25


@pytest.mark.parametrize("transform", [*RANDOM, Normalise((0.5,) * 3, (0.2,) * 3)], ids=str)
def test_the_given_images_stay_as_they_were(transform: BatchTransform) -> None:
    images = pictures(8)
    copy = images.clone()
    transform(images, ids_of(8))
    assert torch.equal(images, copy)


def test_seeds_differ() -> None:
    images, sample_ids = pictures(32), ids_of(32)
    for first, second in (
        (CropFlipRotate(1, 4, True, 15.0), CropFlipRotate(2, 4, True, 15.0)),
        (Cutout(1, 16), Cutout(2, 16)),
    ):
        assert not torch.equal(first(images, sample_ids), second(images, sample_ids))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("transform", [*RANDOM, Normalise((0.5,) * 3, (0.2,) * 3)], ids=str)
def test_a_gpu_gives_the_same_images(transform: BatchTransform) -> None:
    images, sample_ids = pictures(64), ids_of(64)
    on_gpu = transform(images.cuda(), sample_ids)
    assert on_gpu.device.type == "cuda"
    if images.dtype == on_gpu.dtype:  # rotation may take the other of two equally near pixels
        assert (on_gpu.cpu() != transform(images, sample_ids)).float().mean() < 0.001
    else:
        torch.testing.assert_close(on_gpu.cpu(), transform(images, sample_ids))


# --- hole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "height", "width"), [(16, 32, 32), (8, 16, 16), (5, 9, 14)])
def test_the_hole_is_one_square_of_zeros_cut_off_at_the_edges(size: int, height: int, width: int) -> None:
    images, sample_ids = pictures(300, height, width), ids_of(300)
    cut = Cutout(SEED, size)(images, sample_ids)
    params = uniforms(SEED, Stream.CUTOUT, sample_ids, 2)
    for image, before, (down, across) in zip(cut, images, params, strict=True):
        expected = before.clone()
        top, left = int(down * height) - size // 2, int(across * width) - size // 2
        expected[:, max(top, 0) : top + size, max(left, 0) : left + size] = 0
        assert torch.equal(image, expected)


def test_the_holes_sides_lie_between_half_and_all_of_its_size() -> None:
    hole = Cutout(SEED, 16)(pictures(500), ids_of(500))[:, 0] == 0
    for axis in (1, 2):
        sides = hole.any(dim=axis).sum(dim=1)
        assert sides.min() >= 8
        assert sides.max() == 16
    assert torch.equal(hole.sum((1, 2)), hole.any(dim=1).sum(1) * hole.any(dim=2).sum(1))  # a full rectangle


def test_every_pixel_is_the_holes_centre_equally_often() -> None:
    count = 64 * 100
    images = torch.full((count, 3, 8, 8), 9, dtype=torch.uint8)
    holes = Cutout(SEED, 1)(images, ids_of(count))[:, 0] == 0
    assert torch.all(holes.sum((1, 2)) == 1)
    chi_square = float(((holes.sum(0) - 100) ** 2 / 100).sum())
    assert 32 < chi_square < 106  # 63 degrees of freedom: outside with probability 0.001; the seed is fixed


# --- normalisation and order ------------------------------------------------------------------------------------


def test_normalise_is_torchvisions() -> None:
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    images = pictures(16)
    normalised = Normalise(mean, std)(images, ids_of(16))
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised, Normalize(mean, std)(images.float() / 255), rtol=0, atol=1e-6)


def test_normalise_by_hand() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    normalised = Normalise((0.5, 0.2, 0.4), (0.25, 0.5, 0.3))(images, ids_of(1))
    torch.testing.assert_close(normalised.flatten(), torch.tensor([-2.0, 0.0, 2.0]))


def test_normalise_is_exact_to_float32_rounding() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    exact = Normalize(mean, std)(levels.double() / 255)
    errors = (Normalise(mean, std)(levels, ids_of(1)) - exact).abs()
    assert errors.max() < 5e-7  # values are up to 2.64, where float32's steps are 2.4e-7

"""JPEGs that are decoded no larger than is needed: by libjpeg's parts, to the same picture, in training alone."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from data_loader.cache.layout import CacheFiles, CacheKind
from data_loader.cache.stored_form import shrinkage_to
from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets import decoding
from data_loader.datasets.decoding import Shrinkage, UnreadableImageError, decode, read_file
from data_loader.transforms.crops import RandomResizedCrop
from tests.data_loader.cached_trees import built, cached, loader_of, records_of

HEIGHT, WIDTH = 427, 640  # of scikit-learn's photograph


def photo(mode: str = "RGB") -> Image.Image:
    """Of a flower before a blurred background."""
    return Image.fromarray(load_sample_image("flower.jpg")).convert(mode)


def saved(path: Path, mode: str = "RGB", **options: Any) -> str:
    photo(mode).save(path, **options)
    return str(path)


def read(path: str, shrinkage: Shrinkage | None = None, *, apply_exif: bool = False) -> Tensor:
    return decode(read_file(path), path, shrinkage=shrinkage, apply_exif=apply_exif).pixels


def times(factor: float) -> Shrinkage:
    """Whatever the size, so much smaller."""
    return lambda height, width: factor


def distance(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference, of 255."""
    return float((one.float() - other.float()).abs().mean())


@pytest.mark.parametrize(
    ("factor", "parts"), [(0.5, 1), (1, 1), (3.99, 1), (4, 2), (7.99, 2), (8, 4), (15.99, 4), (16, 8), (1000, 8)]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_twice_the_pixels_that_are_wanted_are_left(tmp_path: Path, mode: str, factor: float, parts: int) -> None:
    path = saved(tmp_path / "a.jpg", mode)
    found = read(path, times(factor))
    assert found.shape == (3, -(-HEIGHT // parts), -(-WIDTH // parts))
    assert found.dtype == torch.uint8


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_reduced_picture_is_the_mean_of_the_pixels_that_it_stands_for(
    tmp_path: Path, options: dict[str, Any], parts: int
) -> None:
    path = saved(tmp_path / "a.jpg", **options)
    with Image.open(path) as picture:
        means = torch.from_numpy(np.array(picture.convert("RGB").reduce(parts))).permute(2, 0, 1)
    found = read(path, times(2 * parts))
    assert found.shape == means.shape
    assert distance(found, means) < 1.5
    assert distance(found.roll(1, 2), means) > 2 * distance(found, means)  # a pixel aside is another picture


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_it_would_be_and_its_upright_sides_count(tmp_path: Path, orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", mode, exif=exif)
    upright = (HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT)
    asked = []

    def shrinkage(height: int, width: int) -> float:
        asked.append((height, width))
        return 4.0

    found, whole = read(path, shrinkage, apply_exif=True), read(path, apply_exif=True)
    assert asked == [upright]
    assert found.shape == (3, -(-upright[0] // 2), -(-upright[1] // 2))
    assert whole.shape == (3, *upright)
    halved = torch.nn.functional.interpolate(whole[None].float(), size=found.shape[1:], mode="area")[0]
    assert distance(found, halved) < 2.5  # sides that are odd are halved a little differently


@pytest.mark.parametrize(("name", "mode"), [("a.png", "RGB"), ("a.jpg", "CMYK"), ("a.bmp", "RGB")])
def test_other_files_are_decoded_whole(tmp_path: Path, name: str, mode: str) -> None:
    path = saved(tmp_path / name, mode)
    assert torch.equal(read(path, times(16)), read(path))


@pytest.mark.parametrize("part", [0.02, 0.6])
def test_a_truncated_file_is_refused_as_it_is_otherwise(tmp_path: Path, part: float) -> None:
    path = saved(tmp_path / "a.jpg")
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(part * len(content))])
    for shrinkage in (None, times(16)):
        with pytest.raises(UnreadableImageError, match="can't be decoded"):
            read(path, shrinkage)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_pillow_can_not_open_is_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Whether a file can be read must not depend on the crop; of some JPEGs torchvision's decoder alone makes sense."""
    path = saved(tmp_path / "a.jpg", mode)
    whole = read(path)

    def refuse(content: bytearray) -> Image.Image:
        raise KeyError("a tag that Pillow expects")

    monkeypatch.setattr(decoding, "open_picture", refuse)
    assert torch.equal(read(path, times(16)), whole)


def test_it_needs_no_decoder_of_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.jpg")
    expected = read(path, times(8))
    monkeypatch.setattr(decoding, "jpeg_decoder", lambda: None)
    assert torch.equal(read(path, times(8)), expected)
    assert read(path).shape == (3, HEIGHT, WIDTH)


def test_a_cameras_jpeg_with_a_preview_in_it_is_reduced_too(tmp_path: Path) -> None:
    path, preview = tmp_path / "a.jpg", photo().resize((64, 43))
    photo().save(path, "MPO", save_all=True, append_images=[preview])
    with Image.open(path) as picture:
        assert picture.format == "MPO"
    plain = saved(tmp_path / "b.jpg")
    assert distance(read(str(path), times(8)), read(plain, times(8))) < 1


def test_crops_say_how_much_smaller_they_make_what_they_cut_out() -> None:
    crop = RandomResizedCrop(seed=1, size=50)
    (params,) = crop.make_params(np.zeros((1, 3), np.int64))
    box = crop.box(600, 800, params)
    assert crop.shrinkage(600, 800, params=params) == min(box.height, box.width) / 50
    assert shrinkage_to(256, 1024, 2048) == 4
    assert shrinkage_to(256, 100, 2048) == 1


def photographs(root: Path) -> Path:
    """Two classes of six parts of the photograph, as JPEGs, and one of each to test on."""
    for split, count in (("train", 6), ("test", 1)):
        for label in "ab":
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                left = 20 * number + (label == "b") * 10
                photo().crop((left, 0, left + 480, 400)).save(folder / f"{number}.jpg", quality=95)
    return root


def cropped(loader: ImageFolderDataLoader, epoch: int = 0) -> Tensor:
    """The images of an epoch as the workers give them, [N, 3, S, S]."""
    images = loader.images
    ids = np.stack([np.full(len(images), epoch), np.arange(len(images)), np.zeros(len(images), int)], axis=1)
    return images.read(ids)


def test_training_sees_the_same_crops_and_evaluation_the_same_pixels(tmp_path: Path) -> None:
    root = photographs(tmp_path / "images")
    plain, reduced = loader_of(root), loader_of(root, reduced_decoding=True)
    for epoch in range(3):
        one, other = cropped(plain, epoch), cropped(reduced, epoch)
        assert not torch.equal(one, other)
        assert distance(one, other) < 0.25 * distance(one, one.roll(1, 3))  # of the crop a pixel aside
    tested = [cropped(loader.of_split("test")) for loader in (plain, reduced)]
    assert torch.equal(*tested)


def test_workers_read_the_same(tmp_path: Path) -> None:
    root = photographs(tmp_path / "images")
    none, one = (
        [batch.images for batch in loader_of(root, reduced_decoding=True, num_workers=workers).epoch(1)]
        for workers in (0, 1)
    )
    assert len(none) == len(one) > 1
    assert all(torch.equal(*pair) for pair in zip(none, one, strict=True))


def test_an_image_that_stands_in_for_a_broken_one_is_reduced_too(tmp_path: Path) -> None:
    root = photographs(tmp_path / "images")
    broken = root / "train" / "a" / "0.jpg"
    broken.write_bytes(broken.read_bytes()[:1000])
    plain, reduced = (cropped(loader_of(root, reduced_decoding=value, on_bad_image="skip")) for value in (False, True))
    assert not torch.equal(plain[0], reduced[0])
    assert distance(plain[0], reduced[0]) < 0.25 * distance(plain[0], plain[0].roll(1, 2))


def test_crops_that_would_lose_pixels_are_cut_out_of_the_whole_image(tmp_path: Path) -> None:
    """A network of 128 pixels would want 512 of an image that has 400."""
    root = photographs(tmp_path / "images")
    plain, reduced = (loader_of(root, image_size=128, reduced_decoding=value) for value in (False, True))
    assert torch.equal(cropped(plain), cropped(reduced))


def test_a_cache_is_built_of_reduced_pictures_and_known_apart(tmp_path: Path) -> None:
    root = photographs(tmp_path / "images")
    plain, reduced = (
        cached(root, tmp_path / "cache", side=32, reduced_decoding=value, on_bad_image="error")
        for value in (False, True)
    )
    for loader in (plain, reduced):
        built(loader)
    records = [records_of(loader)[["width", "height", "digest"]] for loader in (plain, reduced)]
    assert np.array_equal(*records)
    first, second = (torch.stack([loader.images.cache.read(i) for i in range(12)]) for loader in (plain, reduced))
    assert not torch.equal(first, second)
    assert distance(first, second) < 1.5


def test_caches_that_are_there_already_are_found() -> None:
    """By the fingerprint of the time before there was reduced decoding: of the version, these four keys and names."""
    told = b'[1, {"apply_exif": false, "format": "jpeg", "side": 256, "value_range": null}]'
    expected = hashlib.sha256(told + b"\0a.jpg").hexdigest()[:16]
    find = partial(CacheFiles.of, Path("cache"), names=[b"a.jpg"])
    assert find(CacheKind(256, "jpeg")).fingerprint == expected
    assert find(CacheKind(256, "jpeg", reduced_decoding=True)).fingerprint != expected

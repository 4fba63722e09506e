"""EXIF's eight orientations, against Pillow's `exif_transpose`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_loader import data_loaders
from data_loader.datasets.decoding import read_image
from data_loader.file_loader import FileDataLoader
from tests.data_loader.image_trees import digit_picture
from utils.config.schema import fields_of

JPEG_BOUND = 2  # builds of libjpeg-turbo may round the colour conversion differently


def save(path: Path, orientation: Any, mode: str = "RGB") -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    digit_picture(3, 0).resize((37, 22)).convert(mode).save(path, exif=exif)
    return str(path)


def transposed(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(ImageOps.exif_transpose(picture).convert("RGB")).astype(int)


def found(path: str, *, apply_exif: bool) -> np.ndarray:
    return read_image(path, apply_exif=apply_exif).permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.jpg", "CMYK"), ("a.png", "RGBA")])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_applied_as_pillow_applies_it(
    tmp_path: Path, name: str, mode: str, orientation: int
) -> None:
    path = save(tmp_path / name, orientation, mode)
    upright = found(path, apply_exif=True)
    expected = transposed(path)
    assert upright.shape == expected.shape == ((22, 37, 3) if orientation < 5 else (37, 22, 3))
    assert np.abs(upright - expected).max() <= (JPEG_BOUND if name == "a.jpg" else 0)
    assert found(path, apply_exif=False).shape == (22, 37, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("apply_exif", [True, False])
def test_a_tiffs_own_orientation_is_applied_once(tmp_path: Path, orientation: int, apply_exif: bool) -> None:
    path = save(tmp_path / "a.tif", orientation)
    assert np.array_equal(found(path, apply_exif=apply_exif), transposed(path))


@pytest.mark.parametrize("nonsense", [0, 9, 65535])
def test_an_orientation_that_there_is_not_is_none(tmp_path: Path, nonsense: int) -> None:
    path = save(tmp_path / "a.jpg", nonsense)
    assert np.array_equal(found(path, apply_exif=True), found(path, apply_exif=False))


def test_damaged_metadata_cost_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    content = Path(save(path, 6)).read_bytes()
    begin = content.index(b"Exif\0\0") + 6
    path.write_bytes(content[:begin] + b"\xff" * 8 + content[begin + 8 :])
    assert found(str(path), apply_exif=True).shape == (22, 37, 3)


def test_own_images_are_turned_and_those_of_published_lists_are_not() -> None:
    kinds = {name: getattr(data_loaders, name) for name in data_loaders.__all__}
    defaults = {
        name: fields_of(kind)["apply_exif"].default for name, kind in kinds.items() if issubclass(kind, FileDataLoader)
    }
    assert {name for name, default in defaults.items() if default} == {"ImageFolderDataLoader", "ImageListDataLoader"}
    assert {"ImageNetLTDataLoader", "PlacesLTDataLoader", "iNaturalistDataLoader"} <= set(defaults)

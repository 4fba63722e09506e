from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data_loader.datasets import decoding
from data_loader.datasets.decoding import UnreadableImageError, read_image
from tests.data_loader.image_trees import digit_picture
from tests.odd_files import ODD_KINDS, put_odd

# Both decoders are libjpeg-turbo; builds may round the colour conversion differently.
JPEG_BOUND = 2


def as_image_folder_reads(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def picture(width: int = 61, height: int = 45) -> Image.Image:
    return digit_picture(3, 0).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def palette_with_transparency() -> Image.Image:
    quantised = picture().quantize(16)
    quantised.info["transparency"] = bytes(range(16))
    return quantised


@pytest.mark.parametrize("quality", [60, 95])
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_are_read_as_image_folder_reads_them(tmp_path, mode, options, quality):
    path = tmp_path / "a.JPEG"
    picture().convert(mode).save(path, "JPEG", quality=quality, **options)
    found, expected = read_image(str(path)), as_image_folder_reads(path)
    assert found.shape == expected.shape == (3, 45, 61)
    assert found.dtype == torch.uint8
    assert (found.int() - expected.int()).abs().max() <= JPEG_BOUND


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("rgba.png", picture().convert("RGBA")),
        ("grey_alpha.png", picture().convert("LA")),
        ("palette.png", picture().quantize(16)),
        ("transparent_palette.png", palette_with_transparency()),
        ("one_bit.png", picture().convert("1")),
        ("a.gif", picture().quantize(16)),
        ("a.bmp", picture()),
        ("a.webp", picture()),
        ("a.tif", picture()),
    ],
)
def test_other_formats_and_modes_are_read_as_image_folder_reads_them(tmp_path, name, image):
    path = tmp_path / name
    image.save(path)
    with pytest.warns() if "transparent" in name else nullcontext():
        expected = as_image_folder_reads(path)
    assert torch.equal(read_image(str(path)), expected)


def test_exif_orientation_is_not_applied_unless_asked_for_as_image_folder_does_not(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    picture(50, 20).save(path, exif=exif)
    found = read_image(str(path))
    assert found.shape == (3, 20, 50)
    assert (found.int() - as_image_folder_reads(path).int()).abs().max() <= JPEG_BOUND


def test_a_jpeg_of_another_name_is_still_a_jpeg(tmp_path):
    picture().save(tmp_path / "a.png", "JPEG")
    assert read_image(str(tmp_path / "a.png")).shape == (3, 45, 61)


def test_without_torchvisions_decoder_pillow_reads_all(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    picture().save(path)
    monkeypatch.setattr(decoding, "jpeg_decoder", lambda: None)
    assert torch.equal(read_image(str(path)), as_image_folder_reads(path))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_files_are_unreadable(tmp_path, kind):
    path = tmp_path / "a.jpg"
    picture().save(path, kind)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: can't be decoded"):
        read_image(str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"<html></html>", "not an image"), (b"\xff\xd8\xff", "can't be decoded")],
)
def test_what_is_no_image_is_unreadable(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=rf"a\.jpg.*{reason}"):
        read_image(str(tmp_path / "a.jpg"))


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path):
    with pytest.raises(UnreadableImageError, match="no such file"):
        read_image(str(tmp_path / "a.jpg"))
    with pytest.raises(UnreadableImageError, match="can't be read"):
        read_image(str(tmp_path))


@pytest.mark.parametrize("announced", [0, 10, 5000], ids=["was empty", "has grown", "has shrunk"])
def test_a_file_is_read_whole_whatever_size_it_was_said_to_have(tmp_path, monkeypatch, announced):
    path = tmp_path / "a.png"
    picture().save(path)
    assert 10 < path.stat().st_size < 5000
    monkeypatch.setattr(decoding.os, "fstat", lambda _: SimpleNamespace(st_size=announced))
    assert torch.equal(read_image(str(path)), as_image_folder_reads(path))


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, monkeypatch, kind):
    put_odd(tmp_path / "a.jpg", kind)
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(UnreadableImageError, match=rf"a\.jpg: .*{ODD_KINDS[kind]}"):
        read_image(str(tmp_path / "a.jpg"))


def test_files_and_images_too_large_are_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "a.jpg"
    picture().save(path)
    content = bytearray(path.read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"  # 65,500 × 65,500 pixels: 13 GB
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match="65500 × 65500 pixels; at most 178,956,970 are read"):
        read_image(str(path))
    (tmp_path / "a.pgm").write_bytes(b"P5 65500 65500 255\n")
    with pytest.raises(UnreadableImageError, match="exceeds limit of 178956970 pixels"):
        read_image(str(tmp_path / "a.pgm"))
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnreadableImageError, match="too many for a file"):
        read_image(str(path))


def test_formats_that_start_programs_are_no_images(tmp_path):
    path = tmp_path / "a.jpg"
    picture().save(path, "EPS")
    with pytest.raises(UnreadableImageError, match="not an image that Pillow knows"):
        read_image(str(path))

"""What a value in a file becomes, to the number: every mode and depth; and what is refused since it can't be right."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_loader.data_loaders.image_folders import ImageFolderDataLoader
from data_loader.datasets.decoding import ImageReader, UnreadableImageError, decode, read_file, read_image
from tests.data_loader.image_bytes import png16, tiff

# of 16 bits → by the type's range (v / 257), and from 200 … 3,500 ((v − 200) · 255 / 3300, cut off)
SIXTEEN = np.array([[0, 200, 257, 1000], [3500, 32768, 65535, 1001]], np.uint16)
BY_TYPE = [[0, 1, 1, 4], [14, 128, 255, 4]]
BY_RANGE = [[0, 0, 4, 62], [255, 255, 255, 62]]
MICROSCOPE = (200.0, 3500.0)


def put(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def save(folder: Path, name: str, picture: Image.Image, **options: Any) -> str:
    picture.save(folder / name, **options)
    return str(folder / name)


def channels(path: str, **options: Any) -> list[Any]:
    """The image as nested lists [H, W, 3]."""
    return read_image(path, **options).permute(1, 2, 0).tolist()


def grey(rows: list[list[int]]) -> list[Any]:
    return [[[value] * 3 for value in row] for row in rows]


def sixteen_bit_file(folder: Path, kind: str) -> str:
    if kind == "PGM":
        return put(folder, "a.pgm", b"P5 4 2 65535\n" + SIXTEEN.astype(">u2").tobytes())
    if kind == "big-endian TIFF":
        return save(folder, "a.tif", Image.fromarray(SIXTEEN.astype(">u2")))
    return save(folder, "a.png" if kind == "PNG" else "a.tif", Image.fromarray(SIXTEEN))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF", "PGM"])
def test_grey_of_16_bits_is_scaled_by_the_types_range_or_by_the_stated_one(tmp_path: Path, kind: str) -> None:
    path = sixteen_bit_file(tmp_path, kind)
    assert channels(path) == grey(BY_TYPE)
    assert channels(path, value_range=MICROSCOPE) == grey(BY_RANGE)
    image = decode(read_file(path), path)
    assert (image.kind, image.depth) == ("16-bit grey", (0, 65535, 65535))


def test_the_types_range_is_that_of_the_file(tmp_path: Path) -> None:
    values = np.array([[0, 2047, 4095, 200]], np.uint16)
    pgm = put(tmp_path, "a.pgm", b"P5 4 1 4095\n" + values.astype(">u2").tobytes())
    assert channels(pgm) == grey([[0, 127, 255, 12]])  # 2047 / 4095 · 255 = 127.47
    assert channels(pgm, value_range=(200, 2047)) == grey([[0, 255, 255, 0]])
    twelve = put(tmp_path, "a.tif", tiff(bytes([0x00, 0x07, 0xFF, 0xFF, 0xF0, 0xC8]), 4, 1, bits=12))  # the same values
    assert channels(twelve) == grey([[0, 127, 255, 12]])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_channel_of_a_16_bit_png_is_scaled_and_alpha_dropped(tmp_path: Path, count: int) -> None:
    values = np.repeat(SIXTEEN[:, :, None], count, axis=2)
    if count == 3:
        values[:, :, 1] = 65535
    path = put(tmp_path, "a.png", png16(values))
    expected, expected_in_range = np.array(grey(BY_TYPE)), np.array(grey(BY_RANGE))
    if count == 3:
        expected[:, :, 1] = expected_in_range[:, :, 1] = 255
    assert channels(path) == expected.tolist()
    assert channels(path, value_range=MICROSCOPE) == expected_in_range.tolist()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("count", [3, 4])
def test_each_channel_of_a_16_bit_tiff_is_scaled(tmp_path: Path, count: int, compressed: bool) -> None:
    values = np.stack([SIXTEEN, SIXTEEN[::-1], SIXTEEN, SIXTEEN][:count], axis=2)
    shape = {"bits": 16, "channels": count, "photometric": 2, "extra_samples": count - 3, "compressed": compressed}
    path = put(tmp_path, "a.tif", tiff(values.astype("<u2").tobytes(), 4, 2, **shape))
    for options, expected in (({}, BY_TYPE), ({"value_range": MICROSCOPE}, BY_RANGE)):
        red, green, blue = read_image(path, **options).tolist()
        assert (red, green, blue) == (expected, expected[::-1], expected)


def test_floating_point_from_0_to_1_or_in_a_stated_range(tmp_path: Path) -> None:
    path = save(tmp_path, "a.tif", Image.fromarray(np.array([[0, 0.2, 0.6, 1]], np.float32)))
    assert channels(path) == grey([[0, 51, 153, 255]])
    path = save(tmp_path, "b.tif", Image.fromarray(np.array([[-2, -1, 1, 4]], np.float32)))
    assert channels(path, value_range=(-1, 4)) == grey([[0, 0, 102, 255]])


def test_integers_of_32_bits_need_a_stated_range(tmp_path: Path) -> None:
    values = np.array([[-5, 0, 51, 300]], np.int32)
    signed = put(tmp_path, "a.tif", tiff(values.tobytes(), 4, 1, bits=32, sample_format=2))
    assert channels(signed, value_range=(0, 255)) == grey([[0, 0, 51, 255]])
    high = np.array([[0, 2**31, 2**32 - 1, 0]], np.uint32)
    unsigned = put(tmp_path, "b.tif", tiff(high.tobytes(), 4, 1, bits=32))
    assert channels(unsigned, value_range=(0, 2**32)) == grey([[0, 128, 255, 0]])


def colours(count: int) -> bytes:
    return tiff(bytes(4 * count), 2, 2, bits=8, channels=count, photometric=2, extra_samples=count - 3)


def refused() -> dict[str, tuple[Any, str]]:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pages = {"save_all": True, "append_images": frames[1:]}
    return {
        "a.tif": ((frames[0], pages), "2 pages"),
        "a.gif": ((frames[0], pages), "2 pages or frames; an image has one"),
        "a.png": ((frames[0], pages), "2 pages"),
        "a.webp": ((frames[0], pages), "2 pages"),
        "five.tif": (
            tiff(bytes(20), 2, 2, bits=8, channels=5, photometric=2, extra_samples=2),
            "5 channels; at most 4",
        ),
        "nine.tif": (
            tiff(bytes(36), 2, 2, bits=8, channels=9, photometric=2, extra_samples=6),
            "not an image that Pill",
        ),
        "above.tif": (np.array([[0, 1.5]], np.float32), "float with values from 0 to 1.5: 0 to 1 is read"),
        "below.tif": (np.array([[-0.1, 1]], np.float32), "float with values from -0.1 to 1"),
        "nan.tif": (np.array([[0, np.nan]], np.float32), "no finite numbers"),
        "signed.tif": (tiff(bytes(8), 2, 2, bits=16, sample_format=2), "value_range must state their limits"),
        "int.tif": (tiff(bytes(16), 2, 2, bits=32), "integers, values from 0 to 0: .*value_range must"),
        "planes.tif": (tiff(bytes(24), 2, 2, bits=16, channels=3, photometric=2, planes=2), "one after another"),
        "inverted.tif": (tiff(bytes(8), 2, 2, bits=16, photometric=0), "its zero is white"),
    }


@pytest.mark.parametrize("name", refused())
def test_what_cannot_be_read_rightly_is_refused_by_name(tmp_path: Path, name: str) -> None:
    content, reason = refused()[name]
    if isinstance(content, tuple):
        save(tmp_path, name, content[0], **content[1])
    elif isinstance(content, np.ndarray):
        save(tmp_path, name, Image.fromarray(content))
    else:
        put(tmp_path, name, content)
    with pytest.raises(UnreadableImageError, match=rf"{name}: can't be decoded \(.*{reason}") as caught:
        read_image(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_the_previews_that_cameras_add_to_a_jpeg_are_no_pages(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ((200, 100, 50), "black"))
    path = save(tmp_path, "a.jpg", first, format="MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(path) as picture:
        assert picture.format == "MPO"
    assert np.abs(np.array(channels(path)) - (200, 100, 50)).max() <= 2


def palette() -> Image.Image:
    picture = Image.new("P", (2, 1))
    picture.putpalette([1, 2, 3, 250, 0, 7])
    picture.putdata([1, 0])
    return picture


MODES = [
    ("1", [1, 0], [[255] * 3, [0] * 3]),
    ("L", [7, 255], [[7] * 3, [255] * 3]),
    ("LA", [(100, 7), (3, 0)], [[100] * 3, [3] * 3]),
    ("P", None, [[250, 0, 7], [1, 2, 3]]),
    ("RGB", [(1, 2, 3), (255, 0, 9)], [[1, 2, 3], [255, 0, 9]]),
    ("RGBA", [(10, 20, 30, 0), (1, 2, 3, 255)], [[10, 20, 30], [1, 2, 3]]),
    ("CMYK", [(0, 0, 0, 0), (255, 0, 0, 0)], [[255, 255, 255], [0, 255, 255]]),
    ("CMYK", [(0, 0, 0, 255), (0, 0, 255, 0)], [[0, 0, 0], [255, 255, 0]]),
]


@pytest.mark.parametrize(
    ("mode", "values", "expected", "ending"),
    [(*case, ending) for ending in ("png", "tif") for case in MODES if (case[0], ending) != ("CMYK", "png")],
)
def test_modes_of_8_bits_and_less(tmp_path: Path, mode: str, values: Any, expected: list[Any], ending: str) -> None:
    picture = palette() if values is None else Image.new(mode, (2, 1))
    if values is not None:
        picture.putdata(values)
    path = save(tmp_path, f"a.{ending}", picture)
    assert channels(path) == [expected]
    assert channels(path, value_range=(100, 200)) == [expected], "a range is of deeper images"
    assert decode(read_file(path), path).depth is None


def test_how_deep_images_are_scaled_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [save(tmp_path, f"{i}.png", Image.fromarray(SIXTEEN)) for i in range(2)]
    plain = save(tmp_path, "plain.png", Image.new("L", (2, 2)))
    with caplog.at_level(logging.INFO):
        for reader in (ImageReader(), ImageReader(MICROSCOPE)):
            for path in (plain, *paths):
                reader(path)
    said = "16-bit grey; such images are scaled from"
    assert [record.getMessage() for record in caplog.records] == [
        f"{paths[0]}: {said} 0 … 65,535 to 0 … 255 (its type's range; data_loader.args.value_range states another)",
        f"{paths[0]}: {said} 200 … 3,500 to 0 … 255 (data_loader.args.value_range)",
    ]


def test_a_loader_reads_by_its_value_range(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.fromarray(np.full((32, 32), 1850, np.uint16)).save(tmp_path / name / f"{i}.png")
    plain = {"data_dir": str(tmp_path), "batch_size": 4, "num_workers": 0, "image_size": 16}
    levels = []
    for options in ({}, {"value_range": (200, 3500)}):
        for split in ("train", "test"):
            loader = ImageFolderDataLoader(**plain, **options).of_split(split)
            levels.append({int(level) for batch in loader.epoch(0) for level in batch.images.unique()})
    assert levels == [{7}, {7}, {128}, {128}]  # 1850 / 257 and the middle of the range


@pytest.mark.parametrize("limits", [(3, 3), (4, 3), (1,), (1, 2, 3), (float("-inf"), 3), (0, float("nan"))])
def test_a_value_range_has_a_low_and_a_high_end(limits: Any) -> None:
    with pytest.raises(ValueError, match=r"args\.value_range: expected \[LOW, HIGH\] with LOW less than HIGH; got \["):
        ImageFolderDataLoader(data_dir="", batch_size=4, value_range=limits)

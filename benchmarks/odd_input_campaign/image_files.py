"""Odd images and folders of images, given to `data_loader.check` and to `train.py`."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.odd_input_campaign.cases import Case
from benchmarks.odd_input_campaign.config_files import NO_FILES, no_file
from benchmarks.odd_input_campaign.material import tiny_recipe

_CLASSES = ("ash", "beech", "cherry")
_IMAGES = 5  # of each class


def _pixels(random_: random.Random, *shape: int, high: int = 256) -> np.ndarray:
    return np.random.default_rng(random_.randrange(2**32)).integers(0, high, shape)


def _encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def picture(random_: random.Random, mode: str = "RGB", size: tuple[int, int] = (20, 16)) -> Image.Image:
    """A picture of noise."""
    return Image.fromarray(_pixels(random_, size[1], size[0], 3).astype(np.uint8)).convert(mode)


def _png(random_: random.Random, **options: Any) -> bytes:
    return _encoded(picture(random_), "PNG", **options)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _vast_png(random_: random.Random) -> bytes:
    """A header that promises 60,000 × 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _deep(random_: random.Random, format_: str) -> bytes:
    return _encoded(Image.fromarray(_pixels(random_, 16, 16, high=65536).astype(np.uint16)), format_)


def _float_tiff(random_: random.Random, scale: float) -> bytes:
    pixels = (_pixels(random_, 16, 16) / 255 * scale).astype(np.float32)
    return _encoded(Image.fromarray(pixels), "TIFF")


def _pages(random_: random.Random) -> bytes:
    return _encoded(picture(random_), "TIFF", save_all=True, append_images=[picture(random_)])


def _with_exif(random_: random.Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = random_.randint(1, 9)
    return _encoded(picture(random_), "JPEG", exif=exif)


_LEGAL: dict[str, tuple[str, Callable[[random.Random], bytes]]] = {
    "16-bit PNG": (".png", lambda r: _deep(r, "PNG")),
    "16-bit TIFF": (".tif", lambda r: _deep(r, "TIFF")),
    "float TIFF of 0 to 1": (".tiff", lambda r: _float_tiff(r, 1.0)),
    "CMYK JPEG": (".jpg", lambda r: _encoded(picture(r, "CMYK"), "JPEG")),
    "grey JPEG": (".JPEG", lambda r: _encoded(picture(r, "L"), "JPEG")),
    "progressive JPEG": (".jpg", lambda r: _encoded(picture(r), "JPEG", progressive=True)),
    "JPEG with EXIF": (".jpg", _with_exif),
    "palette with transparency": (".png", lambda r: _encoded(picture(r, "P"), "PNG", transparency=0)),
    "1-bit PNG": (".png", lambda r: _encoded(picture(r, "1"), "PNG")),
    "grey and alpha": (".png", lambda r: _encoded(picture(r, "LA"), "PNG")),
    "RGBA": (".webp", lambda r: _encoded(picture(r, "RGBA"), "WEBP")),
    "1 × 1": (".png", lambda r: _encoded(picture(r, size=(1, 1)), "PNG")),
    "1 × 3000": (".png", lambda r: _encoded(picture(r, size=(1, 3000)), "PNG")),
    "3000 × 1": (".bmp", lambda r: _encoded(picture(r, size=(3000, 1)), "BMP")),
    "PPM": (".ppm", lambda r: _encoded(picture(r), "PPM")),
    "PGM": (".pgm", lambda r: _encoded(picture(r, "L"), "PPM")),
    "capitals": (".PNG", _png),
    "JPEG called PNG": (".png", lambda r: _encoded(picture(r), "JPEG")),
    "bytes behind the image": (".png", lambda r: _png(r) + b"trailing"),
    "text chunks": (
        ".png",
        lambda r: _png(r)[:33] + _chunk(b"tEXt", b"a\0" + b"b" * 1000) + _png(random.Random(1))[33:],
    ),
}
_ILLEGAL: dict[str, tuple[str, Callable[[random.Random], bytes]]] = {
    "empty": (".png", lambda r: b""),
    "a text": (".jpg", lambda r: b"404 not found\n"),
    "half a PNG": (".png", lambda r: _png(r)[: -r.randrange(100, 300)]),
    "half a JPEG": (
        ".jpg",
        lambda r: _encoded(picture(r, size=(64, 64)), "JPEG", quality=95)[: r.randrange(700, 1500)],
    ),
    "half a TIFF": (".tif", lambda r: _encoded(picture(r), "TIFF")[:100]),
    "noise": (".webp", lambda r: r.randbytes(1000)),
    "a vast PNG": (".png", _vast_png),
    "an SVG": (".png", lambda r: b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "zeros": (".bmp", lambda r: b"\0" * 3000),
    "float TIFF of 0 to 1000": (".tif", lambda r: _float_tiff(r, 1000.0)),
    "float TIFF with nan": (".tif", lambda r: _float_tiff(r, float("nan"))),
    "two pages": (".tif", _pages),
    "a PNG header alone": (".png", lambda r: b"\x89PNG\r\n\x1a\n"),
    "a JPEG header alone": (".jpg", lambda r: b"\xff\xd8\xff\xe0"),
}
_NAMES = (
    "ünï.png",
    "数据.png",
    "a b.png",
    "a\nb.png",
    "a\tb.png",
    " .png",
    "-x.png",
    "$x$.png",
    "x" * 240 + ".png",
    "🙂.png",
    "%s.png",
    "a'b\".png",
    "a,b 3.png",
)
_PASSED_OVER = (
    "Thumbs.db",
    ".DS_Store",
    "._x.png",
    "readme.txt",
    "desktop.ini",
    "x.png~",
    "x.gif",
    "notes",
    "x.PNG.bak",
)


def tree(folder: Path, random_: random.Random) -> None:
    """`folder/{ash,beech,cherry}` with a few PNGs each."""
    for name in _CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(_IMAGES):
            (folder / name / f"{number}.png").write_bytes(_png(random_))


def folder_recipe(folder: Path, **args: Any) -> None:
    """`recipe.json`: a tiny network on `images/`."""
    recipe = tiny_recipe()
    recipe["arch"]["args"]["num_classes"] = len(_CLASSES)
    recipe["data_loader"] = {
        "type": "ImageFolderDataLoader",
        "args": {"data_dir": "images", "batch_size": 8, "num_workers": 0, "image_size": 16, **args},
    }
    recipe["trainer"] |= {"epochs": 1, "validate": True}
    (folder / "recipe.json").write_text(json.dumps(recipe))


def _splits(folder: Path, random_: random.Random) -> Path:
    """Training and test images, with a recipe; the folder of a training class, where something odd is to be put."""
    tree(folder / "images/train", random_)
    tree(folder / "images/test", random_)
    folder_recipe(folder)
    return folder / "images/train/beech"


def _checked(what: str, legal: bool | None, random_: random.Random) -> Case:
    """The check finds it (exit code 1), and so does training (2), unless it is legal."""
    if random_.random() < 0.5:
        return Case(
            what=f"check: {what}",
            legal=legal,
            command="check",
            flags=["recipe.json", "--workers", "0"],
            refusals=(1, 2),
        )
    flags = ["-c", "recipe.json"]
    return Case(what=f"train and test: {what}", legal=legal, command="train and test", flags=flags)


def image(random_: random.Random, folder: Path) -> Case:
    """An odd image among the others."""
    place = _splits(folder, random_)
    legal = random_.random() < 0.5
    what, (ending, make) = random_.choice(sorted((_LEGAL if legal else _ILLEGAL).items()))
    (place / f"odd{ending}").write_bytes(make(random_))
    return _checked(what, legal, random_)


def no_image(random_: random.Random, folder: Path) -> Case:
    """No regular file in an image's or a class's place, and links that lead around in a circle."""
    place = _splits(folder, random_)
    kind = random_.choice([*NO_FILES, "link", "circle", "circle"])
    if kind == "folder":
        (place / "odd.png").mkdir()
        return _checked("an empty folder called odd.png", None, random_)
    if kind == "circle":
        (place / "again").symlink_to(random_.choice(["..", ".", "../ash"]))
        return _checked("a link to a folder above or beside", None, random_)
    no_file(place / "odd.png", kind, Path("0.png"))
    return _checked(f"a {kind} called odd.png", kind == "link", random_)


def names(random_: random.Random, folder: Path) -> Case:
    """Names of any letters, bytes that are no UTF-8, files that are no images and are passed over."""
    place = _splits(folder, random_)
    kind = random_.choice(["name", "name", "bytes", "class", "passed over", "passed over"])
    good = (place / "0.png").read_bytes()
    if kind == "name":
        name = random_.choice(_NAMES)
        (place / name).write_bytes(good)
        return _checked(f"an image called {name!r:.50}", None if "\n" in name else True, random_)
    if kind == "bytes":
        name = os.fsdecode(b"\xff\xfe" + random_.choice([b"", b"\n"]) + b".png")
        (place / name).write_bytes(good)
        return _checked("an image's name is no UTF-8", None if "\n" in name else True, random_)
    if kind == "class":
        name = random_.choice(["ü", "a b", "$y$", "a\nb", "🙂", os.fsdecode(b"\xff"), "z" * 200])
        for split in ("train", "test"):
            (folder / "images" / split / "beech").rename(folder / "images" / split / name)
        return _checked(f"a class called {name!r:.50}", None if "\n" in name else True, random_)
    name = random_.choice(_PASSED_OVER)
    (place / name).write_bytes(random_.randbytes(30))
    return _checked(f"{name} beside the images", True, random_)


def folders(random_: random.Random, folder: Path) -> Case:
    """Folders that are no data set, or another one than the recipe's."""
    tree(folder / "images", random_)
    folder_recipe(folder)
    images = folder / "images"
    kind = random_.choice(
        [
            "missing",
            "a file",
            "empty",
            "an empty class",
            "a class more",
            "no class",
            "loop",
            "given",
            "stranger",
            "hidden",
        ]
    )
    legal = kind in ("given", "hidden")
    if kind in ("missing", "a file", "loop"):
        images.rename(folder / "elsewhere")
        if kind == "a file":
            images.write_bytes(b"x")
        elif kind == "loop":
            images.symlink_to("images")
    elif kind == "empty":
        images.rename(folder / "elsewhere")
        images.mkdir()
    elif kind == "no class":
        images.rename(folder / "elsewhere")
        images.mkdir()
        (images / "1.png").write_bytes(_png(random_))
    elif kind == "an empty class":
        (images / "dogwood").mkdir()
    elif kind == "a class more":
        (images / "dogwood").mkdir()
        (images / "dogwood/1.png").write_bytes(_png(random_))
        return Case(
            what="train: a class more than the network has", legal=False, command="train", flags=["-c", "recipe.json"]
        )
    elif kind == "hidden":
        (images / ".git").mkdir()
        (images / ".git/x.png").write_bytes(b"x")
    else:
        images.rename(folder / "train")
        images.mkdir()
        (folder / "train").rename(images / "train")
        tree(images / "test", random_)
        if kind == "stranger":
            (images / "test/elm").mkdir()
            (images / "test/elm/1.png").write_bytes(_png(random_))
    return _checked(f"folder: {kind}", legal, random_)

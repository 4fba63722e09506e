"""The contact sheet shows images as the network sees them, and as HTML it is one safe, readable file."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_loader.datasets.decoding import ImageReader
from data_loader.given_images import GivenImagesLoader
from data_loader.transforms.batch_transforms import Normalise
from data_loader.transforms.crops import CentreCrop
from tests.data_loader.image_trees import digit_picture
from trainer.inference.contact_sheet import write_contact_sheet

HOSTILE = '<script>alert("$x$")</script>'
SIDE = 32


class Page(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def sheet(path: Path, rows: list[dict[str, object]], *, apply_exif: bool = True) -> Page | None:
    loader = GivenImagesLoader(
        files=[str(row["image"]) for row in rows],
        names=["a"],
        normalise=Normalise((0.5,) * 3, (0.5,) * 3),
        crop=CentreCrop(SIDE, SIDE),
        reader=ImageReader(None, apply_exif),
        batch_size=8,
        num_workers=0,
    )
    write_contact_sheet(path, rows, loader, ["what is promised"])
    return Page(path) if path.suffix == ".html" else None


def pixels_of(image: dict[str, str | None]) -> np.ndarray:
    kind, _, content = str(image["src"]).partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return np.array(picture).astype(int)


@pytest.mark.parametrize("apply_exif", [True, False])
def test_an_image_that_exif_turns_is_shown_as_the_network_sees_it(tmp_path: Path, apply_exif: bool):
    file, exif = tmp_path / "a.png", Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    original = digit_picture(3, 0).resize((SIDE, SIDE)).convert("RGB")
    original.save(file, exif=exif)
    page = sheet(tmp_path / "s.html", [{"image": str(file), "class": "a", "probability": 0.75}], apply_exif=apply_exif)
    assert page is not None
    with Image.open(file) as picture:
        turned = np.array(ImageOps.exif_transpose(picture).convert("RGB")).astype(int)
    shown = pixels_of(page.images[0])
    to_turned, to_original = (np.abs(shown - other).mean() for other in (turned, np.array(original).astype(int)))
    expected, other = (to_turned, to_original) if apply_exif else (to_original, to_turned)
    assert expected < 8 < other  # JPEG's loss, and another picture
    assert f"{'turned' if apply_exif else 'not turned'} as their EXIF orientation says" in page.text
    assert f"the middle {SIDE} × {SIDE} pixels" in page.text


def test_names_are_escaped_sets_and_rejections_told_and_nothing_comes_from_elsewhere(tmp_path: Path):
    rows: list[dict[str, object]] = []
    for number, (members, rejected) in enumerate([([HOSTILE, "b"], False), ([], True)]):
        file = tmp_path / f"{number} <b>.jpg"
        digit_picture(number, 0).convert("RGB").save(file)
        row = {"image": str(file), "class": HOSTILE, "probability": 0.5, "rejected": rejected, "set": members}
        rows.append(row)
    page = sheet(tmp_path / "s.html", rows)
    assert page is not None
    assert "script" not in page.tags and "b" not in page.tags
    assert page.text.count(HOSTILE) == 3  # two classes, one set
    assert f"set: {HOSTILE}; b" in page.text and "set: empty" in page.text
    assert page.text.count("below the threshold") == 1
    assert "what is promised" in page.text
    assert [image["alt"] for image in page.images] == [
        f"0 <b>.jpg, taken for {HOSTILE}, 50 %",
        f"1 <b>.jpg, taken for {HOSTILE}, 50 %, below the threshold",
    ]
    assert all(image["loading"] == "lazy" for image in page.images)
    text = (tmp_path / "s.html").read_text()
    assert "http" not in text and "url(" not in text


def test_a_picture_of_many_shows_the_first_and_a_page_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainer.inference.contact_sheet.MOST", {"picture": 2, "page": 3})
    file = tmp_path / "a.jpg"
    digit_picture(1, 0).convert("RGB").save(file)
    rows: list[dict[str, object]] = [{"image": str(file), "class": "$a$", "probability": 1.0}] * 4
    page = sheet(tmp_path / "s.html", rows)
    assert page is not None
    assert len(page.images) == 3
    assert "The first 3 of 4." in page.text
    sheet(tmp_path / "s.png", rows)
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width == 1200

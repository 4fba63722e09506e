"""A page's pictures: one that an earlier page has, and that shows the same, is left; any other is drawn."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from model.calibration import ReliabilityBins
from tests.trainer.test_report import CHECKPOINT, evaluated_run
from trainer.evaluation.result_files import write_results
from trainer.report import drawing
from trainer.report.content import ClassLine, read_content
from trainer.report.drawing import drawn, kept
from trainer.report.page import write_report
from trainer.report.parts import Picture
from trainer.report.pictures import classes_figure, curves_figure, shift_series
from trainer.report.reliability import Reliability
from utils.reporting.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = ClassLine(0, "cat", 10, 4, 0.5, 0.15, 0.85, (0.25, 0.5), "few")
BINS = ReliabilityBins(np.array([0, 0.5, 1]), np.array([3, 1]), np.array([0.6, 0.9]), np.array([0.5, 1.0]))
DIAGRAM = Reliability("all", 4, 0.6, 0.7, 0.1, BINS)


def an_empty_figure(shown: Any) -> Figure:
    return new_figure(figsize=(0.2, 0.2))


def picture(shown: Any, *, figure: Any = an_empty_figure) -> Picture:
    return Picture("shown", figure, shown, "in words", "how to read it")


def left(earlier: Picture, later: Picture, folder: Path) -> bool:
    """Whether a page leaves an earlier one's picture as it is."""
    png = drawn(earlier)
    (folder / "shown.png").write_bytes(png)
    found = kept(later, folder)
    assert found in (None, png)
    return found is not None


LONG = np.arange(5_000.0)
ELSEWHERE = np.where(LONG == 2_500, 0.0, LONG)  # a middle that numpy would leave out of an array's text


@pytest.mark.parametrize(
    ("shown", "other"),
    [
        ({"loss": {"loss": ([1, 2], [0.5, 0.25])}}, {"loss": {"loss": ([1, 2], [0.5, np.nextafter(0.25, 1)])}}),
        ({"loss": {"loss": ([1, 2], [0.5, 0.25])}}, {"loss": {"val_loss": ([1, 2], [0.5, 0.25])}}),
        ([LINE], [replace(LINE, trained=None)]),
        ([LINE], [LINE, replace(LINE, label=1)]),
        ([DIAGRAM], [replace(DIAGRAM, bins=BINS._replace(counts=np.array([2, 2])))]),
        (LONG, ELSEWHERE),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),  # the order of lines is that of their colours
        ([float("nan")], [None]),
    ],
    ids=["number", "name", "class", "classes", "bins", "long", "order", "none"],
)
def test_a_picture_is_left_where_it_shows_the_same_and_drawn_where_anything_differs(
    shown: Any, other: Any, tmp_path: Path
) -> None:
    assert left(picture(shown), picture(shown), tmp_path)
    assert not left(picture(shown), picture(other), tmp_path)


def test_another_kind_of_figure_or_other_means_of_drawing_make_another_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not left(picture([LINE]), picture([LINE], figure=classes_figure), tmp_path)
    monkeypatch.setattr(drawing, "_drawing", lambda: "another version")
    assert kept(picture([LINE]), tmp_path) is None


def test_what_it_cannot_compare_is_an_error_and_not_the_same() -> None:
    with pytest.raises(TypeError, match="object: nothing that a picture shows"):
        drawn(picture([object()]))


def flipped(png: bytes, at: int) -> bytes:
    return png[:at] + bytes([png[at] ^ 1]) + png[at + 1 :]


@pytest.mark.parametrize(
    "damage", ["cut", "end cut", "changed", "end changed", "text", "foreign", "gone", "folder", "pipe"]
)
def test_what_is_not_whole_or_not_ours_is_drawn_anew(damage: str, tmp_path: Path) -> None:
    path, foreign = tmp_path / "shown.png", io.BytesIO()
    Image.new("RGB", (4, 4)).save(foreign, "PNG")
    png = drawn(picture([1]))
    at = png.index(b"IDAT") + 20
    contents = {
        "cut": png[: at + 10],
        "end cut": png[:-1],
        "changed": flipped(png, at),
        "end changed": flipped(png, len(png) - 20),  # in the check sum of the pixels
        "text": b"no picture",
        "foreign": foreign.getvalue(),
    }
    if damage in contents:
        path.write_bytes(contents[damage])
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    assert kept(picture([1]), tmp_path) is None


def test_a_page_with_pictures_that_were_left_is_the_page_that_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated_run(tmp_path, 12)
    page, folder = write_report(tmp_path), tmp_path / "report"
    first, pngs = page.read_bytes(), sorted(folder.glob("*.png"))
    assert len(pngs) > 1
    times = [path.stat().st_mtime_ns for path in pngs]
    with monkeypatch.context() as patched:
        patched.setattr("trainer.report.writing.drawn", None)  # nobody draws
        assert write_report(tmp_path, keeps_pictures=True).read_bytes() == first
    assert [path.stat().st_mtime_ns for path in pngs] == times
    pngs[0].unlink()
    assert write_report(tmp_path, keeps_pictures=True).read_bytes() == first
    assert pngs[0].is_file()
    assert [path.stat().st_mtime_ns for path in pngs[1:]] == times[1:]
    assert write_report(tmp_path).read_bytes() == first
    assert all(path.stat().st_mtime_ns > time for path, time in zip(pngs, times, strict=True))


def test_a_picture_is_the_same_whatever_matplotlibs_settings_are() -> None:
    expected = drawn(picture([LINE], figure=classes_figure))
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "savefig.facecolor": "black"}):
        assert drawn(picture([LINE], figure=classes_figure)) == expected
        assert matplotlib.rcParams["font.size"] == 20


@pytest.mark.parametrize("epochs", [1, 2, 3, 12, 200])
def test_curves_are_drawn_over_whole_epochs(epochs: int) -> None:
    recorded = list(range(1, epochs + 1)), np.linspace(2, 1, epochs).tolist()
    ticks = curves_figure({"loss": {"loss": recorded}}).axes[0].get_xticks()
    assert ticks.tolist() == ticks.round().tolist()


def test_a_line_along_the_shifts_has_its_place_whichever_sweep_was_the_last(tmp_path: Path) -> None:
    def sweep(prior: str, calibration: str = "none") -> list[dict[str, Any]]:
        question = {"checkpoint": CHECKPOINT, "protocol": "shifts", "weights": "raw", "predictor": "ensemble"}
        found = {"accuracy": 0.5, "ece": 0.1, "images": 4}
        names = ("forward2", "uniform", "backward2")
        return [
            {**question, **found, "distribution": name, "prior": prior, "calibration": calibration} for name in names
        ]

    def shown() -> dict[str, list[str]]:
        series = shift_series(read_content(tmp_path))
        return {label: [str(row["distribution"]) for row in rows] for label, rows in series.items()}

    evaluated_run(tmp_path, 12)
    for each in (sweep("posthoc"), sweep("none"), sweep("none", "ts"), sweep("auto")):
        write_results(tmp_path, each)
    first = shown()
    assert list(first) == ["no prior", "no prior, ts", "prior: auto", "prior: posthoc"]
    write_results(tmp_path, sweep("none"))
    assert list(shown().items()) == list(first.items())

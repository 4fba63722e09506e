"""Figures can be drawn whatever the classes are called, and no drawing ends a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils.reporting.plots import confusion_figure
from utils.reporting.tensorboard import Recorder


def drawn(figure: Any) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def identity(num_classes: int) -> np.ndarray:
    return np.eye(num_classes)


@pytest.mark.parametrize("num_classes", [2, 10, 20, 21, 100, 1000])
def test_a_confusion_figure_can_be_drawn(num_classes: int) -> None:
    figure = confusion_figure(lambda: identity(num_classes), [f"class {i}" for i in range(num_classes)])
    assert figure is not None
    assert drawn(figure).std() > 0
    named = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ("class 1" in named) == (num_classes <= 20)


def test_its_rows_are_the_true_classes_and_its_scale_goes_from_zero_to_one() -> None:
    """Three of four images of class 0 are taken for class 1; class 2 has no image."""
    confusion = np.array([[0.25, 0.75, 0], [0, 1, 0], [0, 0, 0]])
    figure = confusion_figure(lambda: confusion, ["a", "b", "c"])
    assert figure is not None
    (picture,) = figure.axes[0].get_images()
    np.testing.assert_allclose(picture.get_array(), confusion)
    assert picture.get_clim() == (0, 1)
    assert "true" in figure.axes[0].get_ylabel()
    assert "predicted" in figure.axes[0].get_xlabel()
    drawn(figure)


def test_above_a_thousand_classes_there_is_no_picture_and_no_matrix(caplog: pytest.LogCaptureFixture) -> None:
    def too_large() -> np.ndarray:
        raise AssertionError("8,142² cells would take a gigabyte")

    with caplog.at_level(logging.INFO):
        assert confusion_figure(too_large, ["plant"] * 8142) is None
    assert "8142 classes" in caplog.text


ODD_NAMES = [
    "$x$",
    "$",
    r"\$",
    "$\\frac{$",
    "caf\udce9",
    "面",
    "a\nb",
    "\x00",
    "",
    "x" * 100_000,
    "{",
    "%s",
    "\U0001f600",
]


def test_any_class_name_is_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """matplotlib's formulae, bytes that are no UTF-8, letters that no font has, names without an end."""
    recorder = Recorder(tmp_path)
    recorder.figure("confusion_matrix", lambda: confusion_figure(lambda: identity(len(ODD_NAMES)), ODD_NAMES), 1)
    recorder.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("confusion_matrix")] == [1]
    assert caplog.text == ""


def test_dollars_are_shown_as_dollars() -> None:
    figure = confusion_figure(lambda: identity(2), ["$x$", "y"])
    assert figure is not None
    assert figure.axes[0].get_xticklabels()[0].get_text() == r"\$x\$"


def unfinished_formula() -> Any:
    figure = confusion_figure(lambda: identity(2), ["a", "b"])
    assert figure is not None
    figure.axes[0].set_title(r"$\frac{$")
    return figure


def no_memory() -> Any:
    raise MemoryError


@pytest.mark.parametrize("draw", [unfinished_formula, no_memory])
def test_what_cannot_be_drawn_is_a_line_in_the_log_once(
    tmp_path: Path, draw: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path)
    recorder.figure("confusion_matrix", draw, 3)
    recorder.figure("confusion_matrix", draw, 4)
    recorder.figure("confusion_matrix", lambda: None, 5)
    recorder.scalars({"loss": 1.0}, 5)
    recorder.close()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("warning: confusion_matrix of epoch 3 can't be drawn: ")
    assert "\n" not in record.getMessage()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [5]

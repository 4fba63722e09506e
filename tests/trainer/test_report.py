"""The page about a run: its numbers are the results', names are escaped, it stays small, and says what is missing."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from model.intervals import wilson_interval
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import TestSplit, select
from trainer.evaluation.presets import WHOLE
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.result_files import write_results
from trainer.evaluation.results import result_row
from trainer.report import content
from trainer.report.data import RunClasses
from trainer.report.files import read_run
from trainer.report.page import write_report
from utils import row_blocks
from utils.errors import UserError

HOSTILE = '<script>alert("$x$")</script>'
CHECKPOINT = "checkpoint-epoch3.pth"


def long_tail(classes: int) -> list[int]:
    return [max(round(200 * 0.01 ** (place / (classes - 1))), 1) for place in range(classes)]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without data whose classes have names and counts; the first one's name is hostile."""

    def read_classes(run: object, classes: int) -> RunClasses:
        return RunClasses([HOSTILE, *(f"class {place}" for place in range(1, classes))], long_tail(classes))

    monkeypatch.setattr(content, "read_classes", read_classes)


def evaluated_run(folder: Path, classes: int, *, draw: int = 7) -> list[dict[str, Any]]:
    """A made-up run of two experts with four test images a class, its results kept as `test.py` keeps them."""
    random, targets = np.random.default_rng(draw), np.repeat(np.arange(classes), 4)
    logits = random.normal(size=(len(targets), 2, classes)).astype(np.float32)
    logits[np.arange(len(targets)), :, targets] += 2
    distributions = select(WHOLE.distributions, TestSplit(targets, long_tail(classes)))
    chosen = predictors(WHOLE.aggregations, 2)
    found = evaluate(logits, targets, long_tail(classes), distributions=distributions, predictors=chosen)
    rows = [result_row(row, checkpoint=Path(CHECKPOINT), protocol="test", weights="raw") for row in found]
    (folder / "config.json").write_text(json.dumps({"name": HOSTILE, "arch": {"type": "Net", "args": {}}}))
    write_results(folder, rows)
    np.savez(folder / "checkpoint-epoch3.predictions.npz", logits_raw=logits, targets=targets, skipped=targets[:0])
    return rows


class Page(HTMLParser):
    """Its text, tags, and where it points to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.tags, self.pointed, self.images = "", set[str](), list[str](), list[dict[str, Any]]()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.pointed += [value or "" for name, value in attrs if name in ("src", "href")]
        self.images += [dict(attrs)] * (tag == "img")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.usefixtures("named")
def test_numbers_on_the_page_are_those_of_the_results_and_names_are_escaped(tmp_path: Path) -> None:
    rows = evaluated_run(tmp_path, 10)
    page = Page(write_report(tmp_path))
    whole = rows[0]
    assert f"it is right in {100 * whole['accuracy']:.2f} %" in page.text
    assert f"the class accuracies is {100 * whole['balanced_accuracy']:.2f} %" in page.text
    with (tmp_path / "report" / "classes.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["accuracy"]) for line in lines] == whole["per_class"]
    assert [float(line["expert 1"]) for line in lines] == rows[2]["per_class"]
    assert [(float(line["low"]), float(line["high"])) for line in lines] == [
        wilson_interval(share, 4) for share in whole["per_class"]
    ]
    assert HOSTILE in page.text
    assert "script" not in page.tags
    assert all(place.startswith(("#", "data:")) for place in page.pointed)
    assert page.images and all(image["alt"] for image in page.images)
    identifiers = re.findall(r'id="([^"]+)"', (tmp_path / "report.html").read_text())
    assert {place[1:] for place in page.pointed if place.startswith("#")} <= set(identifiers)


@pytest.mark.usefixtures("named")
def test_a_thousand_classes_fit_into_a_small_page(tmp_path: Path) -> None:
    evaluated_run(tmp_path, 1000)
    page = write_report(tmp_path)
    assert page.stat().st_size < 3_000_000
    assert "The 40 lowest of 1,000 classes" in page.read_text()
    assert len((tmp_path / "report" / "classes.csv").read_text().splitlines()) == 1001


@pytest.mark.usefixtures("named")
def test_the_classes_of_inaturalist_fit_into_a_small_page(tmp_path: Path) -> None:
    """8,142 classes with twelve test images each; results alone, since their logits are gigabytes."""
    evaluated_run(tmp_path, 10)
    (tmp_path / "checkpoint-epoch3.predictions.npz").unlink()
    kept = json.loads((tmp_path / "results.json").read_text())
    for row in kept["results"]:
        row["per_class"], row["per_class_images"] = [(place % 4) / 3 for place in range(8142)], [12] * 8142
    (tmp_path / "results.json").write_text(json.dumps(kept))
    page = write_report(tmp_path)
    assert page.stat().st_size < 3_000_000
    assert "The 40 lowest of 8,142 classes" in page.read_text()
    # a 95 % interval leaves out 1 in 40 on either side
    assert "Were all classes as good as the mean, about 204 of 8,142 would seem worse by chance." in page.read_text()
    assert len((tmp_path / "report" / "classes.csv").read_text().splitlines()) == 8143


def test_logits_are_reduced_by_blocks_to_the_classes_and_confidences_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 numbers are a block of seven images of two experts and fourteen classes."""
    monkeypatch.setattr(row_blocks, "BLOCK", 200)
    evaluated_run(tmp_path, 14)
    with np.load(tmp_path / "checkpoint-epoch3.predictions.npz") as kept:
        probabilities = softmax(kept["logits_raw"].mean(axis=1), axis=1)
    found = read_run(tmp_path).predictions
    assert found is not None
    np.testing.assert_array_equal(found.predicted, probabilities.argmax(axis=1))
    np.testing.assert_allclose(found.confidences, probabilities.max(axis=1), rtol=1e-5)


def test_what_a_run_lacks_is_said_on_its_page(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "bare"}')
    assert "Not tested yet" in Page(write_report(tmp_path)).text
    (tmp_path / "results.json").write_text("{")
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "checkpoint-epoch3.pth").write_text("")
    (tmp_path / "checkpoint-epoch3.predictions.npz").write_text("no archive")
    text = Page(write_report(tmp_path)).text
    for told in ("results.json is damaged", "config.json is damaged", "predictions.npz is damaged", "only names"):
        assert told in text


def test_a_folder_that_is_no_run_gets_no_page(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run's folder"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())

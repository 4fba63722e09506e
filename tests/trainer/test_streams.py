"""`--stream`: which images come when, what is scored along time, and what is written."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from model.priors import adjust_logits
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.opened_run import TestRun
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.priors import NONE, PRIORS
from trainer.evaluation.streams.flags import StreamOptions, add_stream_flags, stream_options
from trainer.evaluation.streams.report import stream_table, write_stream
from trainer.evaluation.streams.run_stream import stream_of_run
from trainer.evaluation.streams.schedule import StreamSchedule, schedule
from trainer.evaluation.streams.scores import evaluate_stream
from utils.errors import UserError

TARGETS = np.repeat([0, 1], 60)
FIRST, SECOND = Distribution("first", np.arange(0, 80)), Distribution("second", np.arange(50, 120))
LOGITS = np.random.default_rng(0).normal(0, 1, (120, 2, 2)) + np.eye(2)[TARGETS][:, np.newaxis]
HOMES = np.full((2, 2), 0.5)


def arriving(change: Any = "abrupt", images: int = 400) -> StreamSchedule:
    return schedule([FIRST, SECOND], TARGETS, 2, batch_size=20, images=images, change=change)


def test_one_distribution_comes_after_the_other_and_all_its_images_before_any_comes_again():
    stream = arriving()
    first, second = stream.indices[:200], stream.indices[200:]
    assert sorted(first[:80]) == sorted(first[80:160]) == list(range(80))
    assert set(second) == set(range(50, 120))
    assert not np.array_equal(first[:80], first[80:160])
    np.testing.assert_allclose(stream.batch_prior(slice(0, 20)), [60 / 80, 20 / 80])
    np.testing.assert_allclose(stream.batch_prior(slice(380, 400)), [10 / 70, 60 / 70])
    assert stream.most_often == np.bincount(stream.indices).max() == 3 + 3
    assert stream.name == "stream of 20: first → second"


def test_a_slow_change_mixes_them_in_proportion_to_the_place():
    stream = arriving("slow", images=4001)
    np.testing.assert_allclose(stream.shares[[0, 1000, 2000, 4000]], [[1, 0], [0.75, 0.25], [0.5, 0.5], [0, 1]])
    from_second = stream.indices >= 80  # images that only the second has, 40 of its 70
    halves = [from_second[:2000].mean(), from_second[2001:].mean()]
    np.testing.assert_allclose(halves, [40 / 70 / 4, 40 / 70 * 3 / 4], atol=0.03)


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    found = evaluate_stream(
        LOGITS,
        TARGETS,
        [90, 10],
        arriving=arriving(),
        predictor=predictors(["mean"], 2)[0],
        prior=PRIORS["tilt"],
        homes=HOMES,
    )
    return {row["prior"]: row for row in found}


def test_it_is_scored_without_a_prior_with_the_true_one_and_with_the_estimate(rows: dict[str, dict[str, Any]]):
    assert list(rows) == ["none", "known", "tilt, window"]
    stream = arriving()
    logits, labels = LOGITS[stream.indices].mean(axis=1), TARGETS[stream.indices]
    right = logits.argmax(axis=1) == labels
    assert rows["none"]["accuracy"] == right.mean()
    assert rows["none"]["accuracy_along"] == [right[part : part + 40].mean() for part in range(0, 400, 40)]
    assert rows["none"]["images_along"] == [40] * 10
    known = np.concatenate(
        [adjust_logits(logits[:200], [60, 20]).argmax(axis=1), adjust_logits(logits[200:], [10, 60]).argmax(axis=1)]
    )
    assert rows["known"]["accuracy"] == (known == labels).mean()
    assert rows["known"]["accuracy"] > rows["none"]["accuracy"]
    assert "prior_l1" not in rows["known"]
    along = rows["tilt, window"]["prior_l1_along"]
    assert np.mean(along) == pytest.approx(rows["tilt, window"]["prior_l1"])
    assert along[4] < along[5]  # the jump


def test_where_the_home_prior_is_unknown_only_what_needs_none_is_scored():
    found = evaluate_stream(
        LOGITS, TARGETS, None, arriving=arriving(), predictor=predictors(["mean"], 2)[0], prior=NONE
    )
    assert [row["prior"] for row in found] == ["none"]


def test_a_runs_stream_is_a_table_a_csv_and_a_picture(tmp_path: Path):
    loader = SimpleNamespace(cls_num_list=[90, 10], class_names=["a", "b"])
    predictions = Predictions({"raw": LOGITS.astype(np.float32)}, TARGETS)
    run = TestRun(tmp_path / "checkpoint-epoch1.pth", cast(Any, loader), predictions, "a run", HOMES)
    rows, stream = stream_of_run(run, [FIRST, SECOND], PRIORS["tilt"], StreamOptions(20, images=400))
    assert {row["protocol"] for row in rows} == {"stream"}
    shown = stream_table(rows, stream).splitlines()
    assert shown[0].split()[:2] == ["images", "distribution"]
    assert shown[2].split()[:2] == ["1–40", "first"]
    assert shown[12].split()[0] == "all"
    assert shown[-1].endswith("an image comes up to 6 times")
    files = write_stream(tmp_path, rows, stream)
    table = pd.read_csv(files[0])
    assert len(table) == 3 * 10
    assert set(table["distribution"]) == {"first", "second"}
    of_none = table[table["prior"] == "none"]
    np.testing.assert_allclose(of_none["accuracy"], rows[0]["accuracy_along"])
    with Image.open(files[1]) as picture:
        assert picture.size == (960, 540)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], None),
        (["--stream", "50"], StreamOptions(50)),
        (
            ["--stream", "5", "--stream-images", "90", "--stream-change", "slow", "--stream-follow", "flh"],
            StreamOptions(5, 90, "slow", "flh"),
        ),
    ],
)
def test_flags(flags: list[str], expected: StreamOptions | None):
    parser = ArgumentParser()
    add_stream_flags(parser)
    assert stream_options(parser.parse_args(flags)) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stream-change", "slow"], "--stream-change is of a stream: give --stream N, the images of a batch, too"),
        (["--stream", "50", "--stream-images", "20"], "--stream 50: a batch can't be larger than the stream"),
    ],
)
def test_mistakes_in_flags(flags: list[str], message: str):
    parser = ArgumentParser()
    add_stream_flags(parser)
    with pytest.raises(UserError, match=message):
        stream_options(parser.parse_args(flags))

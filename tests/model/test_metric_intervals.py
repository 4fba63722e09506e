"""Bootstrap intervals of metrics: a plain loop over the same draws, SciPy, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from model.metric_intervals import bootstrap_intervals
from model.metrics import METRICS, LabelledLogits, set_metric
from tests.model.random_sets import CLASSES, COUNTS, random_set
from utils import row_blocks
from utils.random_streams import Stream, generator

REPLICATES = 20


@pytest.mark.parametrize("block", [1 << 20, 50 * CLASSES])
def test_every_metric_has_the_interval_of_a_plain_loop(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = random_set(size=150)
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for replicate in range(REPLICATES):
        drawn = generator(3, Stream.BOOTSTRAP, replicate).integers(150, size=150)
        resampled = LabelledLogits(labelled.logits[drawn], labelled.targets[drawn], COUNTS)
        for name, metric in METRICS.items():
            values[name].append(metric.of_set(resampled))
    monkeypatch.setattr(row_blocks, "BLOCK", block)
    found = bootstrap_intervals(labelled, METRICS, replicates=REPLICATES, level=0.8, seed=3)
    assert list(found) == list(METRICS)
    for name, interval in found.items():
        np.testing.assert_allclose(interval, np.quantile(values[name], [0.1, 0.9]), rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_mean_has_the_interval_of_scipys_bootstrap() -> None:
    labelled = random_set(1)
    metrics = {name: METRICS[name] for name in ("accuracy", "nll", "brier")}
    found = bootstrap_intervals(labelled, metrics, replicates=400)
    for name, samples in (
        ("accuracy", labelled.correct.astype(float)),
        ("nll", labelled.surprisals),
        ("brier", labelled.brier_scores),
    ):
        reference = stats.bootstrap((samples,), np.mean, n_resamples=2000, method="percentile", rng=0)
        spread = reference.standard_error
        np.testing.assert_allclose(found[name], reference.confidence_interval, atol=0.4 * spread)


def test_the_truth_is_within_about_as_often_as_the_level_says() -> None:
    """Three classes, posteriors by Bayes' rule from one normal feature; the truth is that of 50,000 images."""
    random = np.random.default_rng(0)

    def drawn(size: int) -> LabelledLogits:
        targets = random.integers(3, size=size)
        feature = random.normal(1.5 * targets)
        return LabelledLogits(
            -((feature[:, np.newaxis] - 1.5 * np.arange(3)) ** 2) / 2, targets, np.array([200, 50, 9])
        )

    metrics = {name: METRICS[name] for name in ("accuracy", "nll", "few")}
    large = drawn(50_000)
    truth = {name: metric.of_set(large) for name, metric in metrics.items()}
    within = dict.fromkeys(metrics, 0)
    for _ in range(60):
        intervals = bootstrap_intervals(drawn(300), metrics, replicates=60)
        for name, (low, high) in intervals.items():
            within[name] += low <= truth[name] <= high
    for times in within.values():  # of 60 at 95 %, a little less for so few replicates
        assert 50 <= times <= 60


def test_class_names_and_the_logits_type_do_not_matter() -> None:
    labelled = random_set(2, size=100)
    new = np.random.default_rng(2).permutation(CLASSES)
    old = np.argsort(new)
    renamed = LabelledLogits(labelled.logits[:, old].astype(np.float32), new[labelled.targets], COUNTS[old])
    ours, theirs = (bootstrap_intervals(each, METRICS, replicates=10) for each in (labelled, renamed))
    for name in METRICS:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_group_without_images_has_no_interval_and_one_image_a_point() -> None:
    labelled = random_set()
    common = labelled.selected(np.flatnonzero(labelled.targets < 6))
    intervals = bootstrap_intervals(common, METRICS, replicates=5)
    assert all(math.isnan(end) for end in intervals["few"])
    assert all(math.isfinite(end) for name in METRICS if name != "few" for end in intervals[name])
    one = labelled.selected(np.array([5]))
    assert (
        bootstrap_intervals(one, {"nll": METRICS["nll"]}, replicates=3)["nll"]
        == (pytest.approx(one.surprisals[0]),) * 2
    )


def test_a_metric_of_ones_own_is_resampled_by_its_logits() -> None:
    @set_metric("spread", percent=False)
    def spread(labelled: LabelledLogits) -> float:
        return float(labelled.logits.std())

    labelled = random_set(size=60)
    low, high = bootstrap_intervals(labelled, {"spread": spread}, replicates=50)["spread"]
    assert low < labelled.logits.std() < high


@pytest.mark.parametrize(("replicates", "level"), [(1, 0.95), (10, 0.0), (10, 1.0)])
def test_numbers_out_of_range_are_refused(replicates: int, level: float) -> None:
    with pytest.raises(ValueError, match="need two replicates and a level within"):
        bootstrap_intervals(random_set(), METRICS, replicates=replicates, level=level)


@pytest.mark.parametrize("name", METRICS)
def test_selected_samples_have_the_metrics_of_a_set_of_their_own(name: str) -> None:
    labelled = random_set()
    samples = np.array([3, 3, 100, 7, 250, 8])
    alone = LabelledLogits(labelled.logits[samples], labelled.targets[samples], COUNTS)
    selected = labelled.selected(samples)
    assert METRICS[name].of_set(selected) == pytest.approx(METRICS[name].of_set(alone), nan_ok=True)

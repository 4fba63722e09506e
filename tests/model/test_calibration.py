"""Calibration errors, against hand-computed cases, an independent loop, scikit-learn and SciPy."""

import math

import numpy as np
import pytest

from model.calibration import (
    log_normaliser,
    negative_log_likelihood,
    reliability_bins,
    softmax,
    top_confidences,
)


@pytest.fixture
def overconfident():
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.1, 1.0, 2000)
    return confidences, rng.random(2000) < confidences**2


def test_bins_by_hand():
    bins = reliability_bins([0.0, 0.5, 0.51, 1.0], [0, 1, 0, 1], num_bins=2)
    assert bins.edges.tolist() == [0, 0.5, 1]
    assert bins.counts.tolist() == [2, 2]  # 0.5 belongs to (0, 0.5], 0 to the first
    assert bins.confidences.tolist() == pytest.approx([0.25, 0.755])
    assert bins.accuracies.tolist() == [0.5, 0.5]


def test_every_edge_belongs_to_the_bin_below():
    edges = np.linspace(0, 1, 16)
    assert reliability_bins(edges[1:], np.ones(15)).counts.tolist() == [1] * 15
    assert reliability_bins(np.nextafter(edges[:-1], 1), np.ones(15)).counts.tolist() == [1] * 15


def test_empty_bins_are_nan_and_weigh_nothing():
    bins = reliability_bins([0.9, 0.8], [1, 1], num_bins=2)
    assert math.isnan(bins.accuracies[0])
    assert reliability_bins([0.9, 0.8], [1, 1], num_bins=2).expected_error == pytest.approx(0.15)
    assert reliability_bins([0.9, 0.8], [1, 1], num_bins=2).maximum_error == pytest.approx(0.15)


def test_errors_by_hand():
    # (0, .5]: confidences .4 .2, one right: |.5 − .3| = .2. (.5, 1]: .6 .8 1 with two right: |⅔ − .8| = 2/15.
    confidences, correct = [0.4, 0.2, 0.6, 0.8, 1.0], [True, False, True, False, True]
    assert reliability_bins(confidences, correct, num_bins=2).expected_error == pytest.approx(0.4 * 0.2 + 0.6 * 2 / 15)
    assert reliability_bins(confidences, correct, num_bins=2).maximum_error == pytest.approx(0.2)


def test_errors_agree_with_a_loop(overconfident):
    confidences, correct = overconfident
    gaps, weights = [], []
    for index in range(15):
        members = [
            (confidence, right)
            for confidence, right in zip(confidences, correct, strict=True)
            if index / 15 < confidence <= (index + 1) / 15
        ]
        if members:
            gaps.append(abs(sum(c for c, _ in members) - sum(r for _, r in members)) / len(members))
            weights.append(len(members) / len(confidences))
    expected = sum(gap * weight for gap, weight in zip(gaps, weights, strict=True))
    assert reliability_bins(confidences, correct).expected_error == pytest.approx(expected)
    assert reliability_bins(confidences, correct).maximum_error == pytest.approx(max(gaps))


def test_bins_agree_with_scikit_learn(overconfident):
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    confidences, correct = overconfident
    bins = reliability_bins(confidences, correct, num_bins=10)
    accuracies, means = calibration_curve(correct, confidences, n_bins=10, strategy="uniform")
    np.testing.assert_allclose(bins.accuracies[bins.counts > 0], accuracies)
    np.testing.assert_allclose(bins.confidences[bins.counts > 0], means)


def test_order_of_samples_does_not_matter(overconfident):
    confidences, correct = overconfident
    order = np.random.default_rng(1).permutation(2000)
    assert reliability_bins(confidences[order], correct[order]).expected_error == pytest.approx(
        reliability_bins(confidences, correct).expected_error
    )


@pytest.mark.parametrize(
    ("confidences", "correct", "message"),
    [
        ([1.1], [1], r"in \[0, 1\]"),
        ([math.nan], [1], r"in \[0, 1\]"),
        ([], [], "one confidence"),
        ([0.5], [1, 0], "one"),
    ],
)
def test_mistakes(confidences, correct, message):
    with pytest.raises(ValueError, match=message):
        reliability_bins(confidences, correct)


def test_softmax_and_likelihood_agree_with_scipy_and_scikit_learn():
    special = pytest.importorskip("scipy.special")
    log_loss = pytest.importorskip("sklearn.metrics").log_loss
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(50, 6)) * 4, rng.integers(0, 6, 50)
    np.testing.assert_allclose(softmax(logits), special.softmax(logits, axis=-1))
    np.testing.assert_allclose(log_normaliser(logits), special.logsumexp(logits, axis=-1))
    np.testing.assert_allclose(top_confidences(logits), special.softmax(logits, axis=-1).max(axis=-1))
    expected = log_loss(targets, special.softmax(logits, axis=-1), labels=np.arange(6))
    assert negative_log_likelihood(logits, targets) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_large_logits_neither_overflow_nor_exceed_one(dtype):
    logits = np.array([[6e4, -6e4, 6e4], [30, -30, 0]], dtype=dtype)
    np.testing.assert_allclose(softmax(logits)[0], [0.5, 0, 0.5])
    assert negative_log_likelihood(logits[:1], [2]) == pytest.approx(math.log(2), abs=1e-2)
    assert top_confidences(logits).max() <= 1
    assert softmax(logits).dtype == np.promote_types(dtype, np.float32)


def test_small_confidences_are_exact_for_float32_logits_of_many_classes():
    assert top_confidences(np.zeros((1, 8142), dtype=np.float32))[0] == pytest.approx(1 / 8142, rel=1e-5)

"""Coverage and size of prediction sets, counted by hand, and the limits of chance by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from model.prediction_sets import fit_sets
from model.set_reports import coverage_interval, report_sets

SETS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
LABELS = np.array([0, 0, 0, 1, 1])


def test_what_is_reported_is_counted_by_hand():
    report = report_sets(SETS, LABELS, [200, 50, 3])
    assert (report.images, report.coverage, report.empty) == (5, 0.6, 0.2)
    np.testing.assert_allclose(report.class_coverage, [2 / 3, 1 / 2, np.nan])
    assert report.macro_coverage == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert report.group_coverage == pytest.approx({"many": 2 / 3, "medium": 1 / 2, "few": np.nan}, nan_ok=True)
    np.testing.assert_allclose(report.intrusion, [1 / 2, 2 / 3, 2 / 5])
    assert report.mean_size == pytest.approx(8 / 5)
    assert report.size_90 == 3
    assert report_sets(np.repeat(SETS[:4], [5, 3, 1, 1], axis=0), np.zeros(10, int), [1, 1, 1]).size_90 == 2


def test_the_limits_of_chance_hold_95_percent_of_draws():
    held_out, tests, alpha, draws = 25, 60, 0.2, 1000
    low, high = coverage_interval(held_out, tests, alpha)
    random = np.random.default_rng(0)
    inside = []
    for _ in range(draws):
        scores, seen = random.uniform(0, 0.5, held_out), random.uniform(0, 0.5, tests)
        sets = fit_sets(np.stack([1 - scores, scores], 1), np.zeros(held_out, int), alpha=alpha, score="softmax")
        inside.append(low <= sets.of(np.stack([1 - seen, seen], 1))[:, 0].mean() <= high)
    assert 0.95 - 3 * np.sqrt(0.05 * 0.95 / draws) <= np.mean(inside) < 0.99
    assert low < 1 - alpha < high


def test_with_too_few_held_out_images_every_set_covers():
    assert coverage_interval(8, 100, 0.1) == (1.0, 1.0)
    assert coverage_interval(9, 100, 0.1) < (1.0, 1.0)


def test_another_number_of_classes_or_labels_is_told():
    with pytest.raises(ValueError, match=r"class_counts need the shape \[3\]"):
        report_sets(SETS, LABELS, [1, 2])
    with pytest.raises(ValueError, match="labels must be class indices"):
        report_sets(SETS, LABELS + 2, [1, 2, 3])

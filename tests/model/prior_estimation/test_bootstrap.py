"""Intervals by resampling the test images."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from model.prior_estimation import ESTIMATORS, PriorEvidence, bbse, bootstrap, em
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, uniform
from utils import row_blocks

MIXTURE = GaussianMixture(5, spread=1.0)
TRUTH = np.array([0.1, 0.15, 0.2, 0.25, 0.3])
EVIDENCE = PriorEvidence(
    MIXTURE.draw(TRUTH, 300, seed=0).logits, uniform(5), long_tail(5), MIXTURE.draw(uniform(5), 300, seed=1)
)
quick_em = partial(em, tolerance=1e-5)


def test_of_sure_predictions_it_is_the_bootstrap_of_frequencies():
    """Then the estimate is the frequency k/N of a class, whose standard error is √(p(1 − p)/N)."""
    counts = np.array([40, 60, 100])
    evidence = PriorEvidence(50 * np.eye(3)[np.repeat([0, 1, 2], counts)], uniform(3))
    interval = bootstrap(em, evidence, replicates=2000)
    error = np.sqrt(counts / 200 * (1 - counts / 200) / 200)
    np.testing.assert_allclose(interval.priors.std(axis=0), error, rtol=0.1)
    np.testing.assert_allclose(interval.priors.mean(axis=0), counts / 200, atol=0.005)
    np.testing.assert_allclose(interval.high - interval.low, 2 * 1.96 * error, rtol=0.15)


def test_intervals_hold_the_truth_as_often_as_they_say():
    inside = []
    for draw in range(40):
        evidence = PriorEvidence(MIXTURE.draw(TRUTH, 300, seed=draw).logits, uniform(5))
        interval = bootstrap(quick_em, evidence, replicates=100, level=0.9)
        inside.append((interval.low <= TRUTH) & (interval.high >= TRUTH))
    assert 0.82 < np.mean(inside) < 0.96  # 200 intervals, of which 5 each depend on one another


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_every_estimator_has_one_around_its_estimate(name):
    interval = bootstrap(ESTIMATORS[name], EVIDENCE, replicates=60, level=0.99)
    estimate = ESTIMATORS[name](EVIDENCE).prior
    assert interval.priors.shape == (60, 5)
    assert (interval.low <= estimate + 1e-6).all()
    assert (estimate <= interval.high + 1e-6).all()


def test_it_depends_on_the_seed_alone_and_not_on_what_fits_the_memory(monkeypatch):
    whole = bootstrap(bbse, EVIDENCE, replicates=20, seed=3)
    monkeypatch.setattr(row_blocks, "BLOCK", 7 * 300)
    parts = bootstrap(bbse, EVIDENCE, replicates=20, seed=3)
    np.testing.assert_allclose(parts.priors, whole.priors, atol=1e-12)
    assert np.abs(bootstrap(bbse, EVIDENCE, replicates=20, seed=4).priors - whole.priors).max() > 1e-3


def test_fewer_replicates_are_the_first_of_many():
    few, many = (bootstrap(bbse, EVIDENCE, replicates=replicates).priors for replicates in (5, 20))
    np.testing.assert_allclose(few, many[:5], atol=1e-12)


def test_higher_levels_are_wider():
    narrow, wide = (bootstrap(bbse, EVIDENCE, level=level) for level in (0.5, 0.95))
    assert (wide.high - wide.low > narrow.high - narrow.low).all()


@pytest.mark.parametrize("options", [{"replicates": 1}, {"level": 1.5}, {"level": -1}])
def test_mistakes(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must"):
        bootstrap(em, EVIDENCE, **options)

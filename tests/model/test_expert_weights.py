"""SADE's weights: maximum, gradient, and what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from model.expert_weights import _loss, agreement_weights, view_agreement


def views(noise: tuple[float, ...], *, seed: int = 0) -> np.ndarray:
    """Two views [2, 200, E, 5] of images whose experts differ in how much a view changes their logits."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, 200)
    clean = 3 * np.eye(5)[labels][:, np.newaxis]
    return clean + random.normal(size=(2, 200, len(noise), 5)) * np.array(noise)[:, np.newaxis]


def test_agreement_by_hand():
    logits = np.log(np.array([[[[0.8, 0.2]]], [[[0.4, 0.6]]]]))  # [2, 1, 1, 2]
    expected = (0.8 * 0.4 + 0.2 * 0.6) / (np.hypot(0.8, 0.2) * np.hypot(0.4, 0.6))
    np.testing.assert_allclose(view_agreement(logits, np.ones(1)), [expected])


def test_its_gradient_is_right():
    given = views((0.5, 1.0, 2.0))
    for point in np.random.default_rng(1).normal(size=(3, 3)):
        assert check_grad(lambda x: _loss(x, given)[0], lambda x: _loss(x, given)[1], point) < 1e-6


def test_it_is_the_best_of_a_grid():
    given = views((0.8, 1.5))
    grid = np.linspace(0, 1, 401)
    agreement = [view_agreement(given, np.array([share, 1 - share])).mean() for share in grid]
    assert agreement_weights(given)[0] == pytest.approx(grid[np.argmax(agreement)], abs=5e-3)


def test_an_expert_that_views_confuse_counts_less_whatever_the_order():
    given = views((0.6, 0.6, 3.0))
    weights = agreement_weights(given)
    assert weights.sum() == pytest.approx(1)
    assert weights[2] < 0.15
    np.testing.assert_allclose(agreement_weights(given[:, :, [2, 0, 1]]), weights[[2, 0, 1]], atol=1e-3)


def test_experts_that_are_alike_count_alike():
    given = np.repeat(views((1.0,)), 3, axis=2)
    np.testing.assert_allclose(agreement_weights(given), np.full(3, 1 / 3))


@pytest.mark.parametrize("given", [np.zeros((2, 0, 2, 3)), np.zeros((3, 4, 2, 3)), np.full((2, 1, 1, 2), np.nan)])
def test_mistakes(given: np.ndarray):
    with pytest.raises(ValueError, match="views need the shape"):
        agreement_weights(given)

"""Priors of streams, by hand and at a jump."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.prior_estimation.streams import ExponentialWindow, FollowLeadingHistory

FIRST, SECOND, THIRD = np.array([0.8, 0.2]), np.array([0.4, 0.6]), np.array([0.1, 0.9])


def test_the_exponential_window_by_hand():
    window = ExponentialWindow([1, 1], decay=0.75)
    np.testing.assert_allclose(window.prior, [0.5, 0.5])
    np.testing.assert_allclose(window.update(FIRST), 0.75 * np.array([0.5, 0.5]) + 0.25 * FIRST)
    np.testing.assert_allclose(window.update(SECOND), 0.5625 * np.array([0.5, 0.5]) + 0.1875 * FIRST + 0.25 * SECOND)
    np.testing.assert_allclose(ExponentialWindow([1, 1], decay=0).update(FIRST), FIRST)


def test_following_the_leading_history_by_hand():
    """η = ½. A mean foretells a batch before it takes it in."""
    history = FollowLeadingHistory([0.5, 0.5])
    np.testing.assert_allclose(history.prior, [0.5, 0.5])
    np.testing.assert_allclose(history.update(FIRST), FIRST)
    # the only mean keeps 2/3 whatever it foretold, the new one joins with 1/3
    np.testing.assert_allclose(history.update(SECOND), 2 / 3 * (FIRST + SECOND) / 2 + 1 / 3 * SECOND)
    # foretold (0.6, 0.4) and (0.4, 0.6), seen (0.1, 0.9): squared distances 2 · 0.25 and 2 · 0.09
    older, newer = 2 / 3 * math.exp(-0.5 * 0.5), 1 / 3 * math.exp(-0.5 * 0.18)
    weights = np.array([0.75 * older / (older + newer), 0.75 * newer / (older + newer), 0.25])
    means = np.stack([(FIRST + SECOND + THIRD) / 3, (SECOND + THIRD) / 2, THIRD])
    np.testing.assert_allclose(history.update(THIRD), weights @ means)
    np.testing.assert_allclose(history.weights, weights)


def test_the_rate_is_how_fast_wrong_means_lose_weight():
    histories = [FollowLeadingHistory([1, 1], rate=rate) for rate in (0.1, 10)]
    for history in histories:
        for estimate in [FIRST] * 5 + [THIRD] * 3:
            history.update(estimate)
    slow, fast = (distance_to_third(history) for history in histories)
    assert fast < slow


def distance_to_third(history: FollowLeadingHistory) -> float:
    return float(np.abs(history.prior - THIRD).sum())


@pytest.mark.parametrize("make", [lambda prior: ExponentialWindow(prior, decay=0.8), FollowLeadingHistory])
def test_a_prior_that_stays_is_met_and_one_that_jumps_is_followed(make):
    random = np.random.default_rng(0)
    before, after = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7])
    stream = make([1, 1, 1])
    distances = []
    for batch in range(200):
        truth = before if batch < 100 else after
        prior = stream.update(random.multinomial(50, truth))
        assert prior.sum() == pytest.approx(1)
        distances.append(np.abs(prior - truth).sum())
    assert np.mean(distances[50:100]) < 0.15
    assert distances[100] > 0.5
    assert np.mean(distances[150:]) < 0.35


def test_means_over_all_batches_are_more_exact_than_a_window_while_nothing_changes():
    random = np.random.default_rng(1)
    truth = np.array([0.5, 0.3, 0.2])
    window, history = ExponentialWindow([1, 1, 1], decay=0.8), FollowLeadingHistory([1, 1, 1], rate=20)
    errors = []
    for _ in range(300):
        counts = random.multinomial(50, truth)
        errors.append([np.abs(stream.update(counts) - truth).sum() for stream in (window, history)])
    of_window, of_history = np.mean(errors[100:], axis=0)
    assert of_history < of_window


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: ExponentialWindow([1, 1], decay=1), "decay must be at least 0 and below 1"),
        (lambda: ExponentialWindow([1, -1]), "prior must be finite"),
        (lambda: FollowLeadingHistory([1, 1], rate=0), "rate must be above 0"),
        (lambda: FollowLeadingHistory([1, 1]).update([1, 1, 1]), r"estimate needs the shape \[2\]"),
        (lambda: ExponentialWindow([1, 1]).update([math.nan, 1]), "estimate must be finite"),
    ],
)
def test_mistakes(action, message):
    with pytest.raises(ValueError, match=message):
        action()

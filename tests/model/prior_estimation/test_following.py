"""A stream's prior, batch by batch: by hand, without a look ahead, and after a jump."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.prior_estimation import PriorEvidence, tilt
from model.prior_estimation.following import FOLLOWERS, batches, follow_by_window, follow_leading_history
from model.prior_estimation.streams import FollowLeadingHistory
from model.prior_estimation.tilt import tilted
from tests.model.prior_estimation.simulated import GaussianMixture, distance, long_tail, uniform

CLASSES = 8
TRAINING = long_tail(CLASSES, 20)
FORWARD, BACKWARD = (tilted(TRAINING, np.array([gamma]))[0] for gamma in (1.0, -1.0))


def share(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Images that say their class: the weighted frequencies."""
    return weights @ images / weights.sum()


def by_tilt(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return tilt(PriorEvidence(images, uniform(CLASSES), TRAINING), image_weights=weights).prior


def stream(*parts: tuple[np.ndarray, int]) -> np.ndarray:
    mixture = GaussianMixture(CLASSES, spread=1.2)
    return np.concatenate([mixture.draw(prior, size, seed=seed).logits for seed, (prior, size) in enumerate(parts)])


def test_the_window_by_hand():
    images = np.eye(2)[[0, 0, 1, 1, 1]]
    found = follow_by_window(images, 2, share, [3, 1], window=10)
    first, decay = np.array([0.75, 0.25]), math.exp(-0.2)
    np.testing.assert_allclose(found[0], (np.array([2, 0]) + 20 * first) / 22)
    expected = np.array([2 * decay, 2]) + 20 * decay * first
    np.testing.assert_allclose(found[1], expected / expected.sum())
    expected = np.array([2 * decay**2, 2 * decay + 1]) + 20 * decay**2 * first
    np.testing.assert_allclose(found[2], expected / expected.sum())


def test_the_leading_history_is_given_each_batchs_own_estimate():
    images = np.eye(2)[[0, 0, 1, 1, 1]]
    history = FollowLeadingHistory([1, 1])
    expected = [history.update(estimate) for estimate in ([1, 0], [0, 1], [0, 1])]
    np.testing.assert_allclose(follow_leading_history(images, 2, share, [1, 1]), expected)


@pytest.mark.parametrize("follower", FOLLOWERS.values(), ids=FOLLOWERS)
def test_later_images_do_not_matter(follower):
    images = stream((FORWARD, 300), (BACKWARD, 300))
    changed = images.copy()
    changed[200:] = changed[200:][::-1]
    before, after = (follower(logits, 50, by_tilt, uniform(CLASSES)) for logits in (images, changed))
    np.testing.assert_array_equal(before[:4], after[:4])
    assert np.abs(before[4:] - after[4:]).max() > 0.01


@pytest.mark.parametrize("follower", FOLLOWERS.values(), ids=FOLLOWERS)
def test_after_a_jump_it_finds_the_new_prior(follower):
    found = follower(stream((FORWARD, 1500), (BACKWARD, 1500)), 50, by_tilt, uniform(CLASSES))
    assert distance(found[29], FORWARD) < 0.25
    assert distance(found[49], BACKWARD) < 0.35 < distance(found[30], BACKWARD)


def test_without_a_change_a_long_window_comes_to_the_estimate_of_all_images():
    images = stream((BACKWARD, 2000))
    last = follow_by_window(images, 100, by_tilt, uniform(CLASSES), window=1e6)[-1]
    whole = tilt(PriorEvidence(images, uniform(CLASSES), TRAINING)).prior
    np.testing.assert_allclose(last, (2000 * whole + 20 * uniform(CLASSES)) / 2020, atol=1e-3)


def test_the_last_batch_may_be_smaller():
    assert batches(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    with pytest.raises(ValueError, match="batch size must be at least 1"):
        batches(5, 0)
    with pytest.raises(ValueError, match="window must be above 0"):
        follow_by_window(np.eye(2), 1, share, [1, 1], window=0)

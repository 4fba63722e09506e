"""Conformal prediction sets: thresholds by hand, coverage on simulated draws, and what relabelling must not change."""

from __future__ import annotations

import numpy as np
import pytest

from model.prediction_sets import SCORES, fit_sets
from tests.model.prior_estimation.simulated import GaussianMixture, long_tail, posteriors, uniform

stats = pytest.importorskip("scipy.stats")

CLASSES = 6
MIXTURE = GaussianMixture(CLASSES, spread=0.9, dimensions=4)
TAIL = long_tail(CLASSES, 30)
INFINITE = np.inf


def draw(prior: np.ndarray, size: int, seed: int, home: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Exact posteriors under the home prior (uniform by default), and labels drawn from `prior`."""
    logits, labels = MIXTURE.draw(prior, size, seed=seed, home=home)
    return posteriors(logits), labels


def two_classes(*of_label: float) -> np.ndarray:
    """Probabilities [M, 2] of images of class 0."""
    return np.array([[p, 1 - p] for p in of_label])


def fitted(*of_label: float, alpha: float, score: str = "softmax"):
    return fit_sets(two_classes(*of_label), np.zeros(len(of_label), int), alpha=alpha, score=score)


@pytest.mark.parametrize(
    ("images", "alpha", "rank"),
    # ⌈(n + 1)(1 − α)⌉ by hand; 9 and 19 are the fewest images with a finite threshold at 10 and 5 %
    [(9, 0.1, 9), (10, 0.1, 10), (19, 0.1, 18), (69, 0.1, 63), (19, 0.05, 19), (3, 0.5, 2), (4, 0.5, 3), (9, 0.3, 7)],
)
def test_the_threshold_is_the_score_of_the_rank_by_hand(images, alpha, rank):
    scores = np.linspace(0.01, 0.9, images)
    sets = fitted(*np.random.default_rng(0).permutation(1 - scores), alpha=alpha)
    np.testing.assert_allclose(sets.thresholds, scores[rank - 1], rtol=1e-12)
    assert sets.effective_images == pytest.approx(images)


@pytest.mark.parametrize(("images", "alpha"), [(8, 0.1), (1, 0.4), (18, 0.05)])
def test_too_few_held_out_images_make_every_set_have_every_class(images, alpha):
    sets = fitted(*[0.9] * images, alpha=alpha)
    assert (sets.thresholds == INFINITE).all()
    assert sets.of(two_classes(0.0, 0.3, 1.0)).all()


def test_a_class_whose_score_equals_the_threshold_is_in_the_set():
    sets = fitted(0.7, 0.7, 0.7, alpha=0.5)
    np.testing.assert_array_equal(sets.of(two_classes(0.7, np.nextafter(0.7, 0), 1.0)), [[1, 0], [0, 0], [1, 0]])
    sets = fitted(1.0, 1.0, 1.0, alpha=0.5)  # a threshold of exactly 0
    np.testing.assert_array_equal(sets.of(two_classes(1.0, 0.5)), [[1, 0], [0, 0]])


PROBABILITIES = np.array([[0.8, 0.2, 0], [0.6, 0.1, 0.3], [0.3, 0.5, 0.2], [0.5, 0.4, 0.1]])
LABELS = np.array([0, 0, 1, 1])  # scores 0.2 0.4 0.5 0.6


def softmax_sets(**options):
    return fit_sets(PROBABILITIES, LABELS, alpha=0.5, score="softmax", **options)


def test_weighted_thresholds_are_those_by_hand_and_depend_on_the_candidate():
    sets = softmax_sets(held_out_prior=[0.5, 0.4, 0.1], target_prior=[0.25, 0.6, 0.15])
    # weights ½ ½ 1½ 1½, their sums ½ 1 2½ 4; needed ½(4 + ½) = 2¼, ½(4 + 1½) = 2¾ for both others
    np.testing.assert_allclose(sets.thresholds, [0.5, 0.6, 0.6], rtol=1e-12)
    assert sets.effective_images == pytest.approx(16 / 5)
    sets = softmax_sets(held_out_prior=[0.5, 0.4, 0.1], target_prior=[0.1, 0.4, 0.5])
    # weights ⅕ ⅕ 1 1; class 2 with weight 5 needs 3.7 of 2.4
    np.testing.assert_allclose(sets.thresholds, [0.5, 0.5 + 0.1, INFINITE], rtol=1e-12)


def test_a_class_that_no_held_out_image_has_is_in_every_set_where_it_may_occur():
    unseen = softmax_sets(target_prior=[1, 1, 1]).thresholds
    assert unseen[2] == INFINITE and np.isfinite(unseen[:2]).all()
    impossible = softmax_sets(target_prior=[1, 1, 0]).thresholds
    np.testing.assert_allclose(impossible, [0.5, 0.5, 0.4], rtol=1e-12)  # needed ½ · (4 + 0) of 1 1 1 1
    elsewhere = softmax_sets(target_prior=[0, 0, 1])
    assert (elsewhere.thresholds == INFINITE).all() and elsewhere.effective_images == 0


def test_prevalence_scores_are_those_by_hand_from_any_home():
    home = np.array([0.5, 0.25, 0.25])
    held_out = np.array([0.6, 0.4, 0.0])
    under_held_out = PROBABILITIES / home * held_out
    under_held_out /= under_held_out.sum(axis=1, keepdims=True)
    sets = fit_sets(PROBABILITIES, LABELS, alpha=0.4, score="prevalence", home_prior=home, held_out_prior=held_out)
    expected = -under_held_out[:, :2] / held_out[:2]
    np.testing.assert_allclose(sets.scores(PROBABILITIES)[:, :2], expected, rtol=1e-12)
    np.testing.assert_allclose(sets.thresholds, np.sort(expected[np.arange(4), LABELS])[2], rtol=1e-12)
    same = fit_sets(under_held_out, LABELS, alpha=0.4, score="prevalence", home_prior=held_out, held_out_prior=held_out)
    np.testing.assert_allclose(same.thresholds, sets.thresholds, rtol=1e-12)
    nowhere = sets.scores(np.array([[0.0, 0.0, 1.0]]))
    np.testing.assert_array_equal(nowhere, [[0, 0, -INFINITE]])


def test_interpolation_lies_between_the_common_and_the_classes_own_thresholds():
    def thresholds(weight):
        return softmax_sets(class_weight=weight).thresholds

    np.testing.assert_allclose(thresholds(0), [0.5, 0.5, 0.5], rtol=1e-12)
    np.testing.assert_allclose(thresholds(1), [0.4, 0.6, 1.0], rtol=1e-12)  # ranks 2 of 2; none: the largest score
    np.testing.assert_allclose(thresholds(0.25), [0.475, 0.525, 0.625], rtol=1e-12)
    few = fit_sets(PROBABILITIES, LABELS, alpha=0.3, score="prevalence", class_weight=1)
    np.testing.assert_array_equal(few.thresholds, 0)  # ⌈3 · 0.7⌉ = 3 of 2: the largest score of the other kind
    assert few.of(PROBABILITIES).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("target", [None, uniform(CLASSES)], ids=["same", "uniform"])
def test_coverage_of_exchangeable_and_of_shifted_images_is_what_was_promised(score, target):
    alpha, held_out, tests = 0.1, 400, 2000
    probabilities, labels = draw(TAIL, held_out, seed=1)
    sets = fit_sets(probabilities, labels, alpha=alpha, score=score, held_out_prior=TAIL, target_prior=target)
    seen, true = draw(TAIL if target is None else target, tests, seed=2)
    covered = int(sets.of(seen)[np.arange(tests), true].sum())
    images = round(sets.effective_images)  # with weights, the interval is an approximation
    rank = int(np.ceil((images + 1) * (1 - alpha)))
    low, high = stats.betabinom.ppf([0.025, 0.975], tests, rank, images + 1 - rank)
    assert low <= covered <= high
    assert (images == held_out) == (target is None)


def test_coverage_over_many_draws_is_at_least_promised_and_not_far_above():
    alpha, held_out, repeats = 0.2, 30, 300
    shifted = TAIL[::-1]
    cases = {"same": (TAIL, None), "weighted": (shifted, shifted), "not weighted": (shifted, None)}
    covered: dict[str, list[float]] = {name: [] for name in cases}
    for seed in range(repeats):
        probabilities, labels = draw(TAIL, held_out, seed=2 * seed, home=TAIL)
        for name, (prior, target) in cases.items():
            seen, true = draw(prior, 20, seed=2 * seed + 1, home=TAIL)
            sets = fit_sets(
                probabilities, labels, alpha=alpha, score="softmax", target_prior=target, held_out_prior=TAIL
            )
            covered[name].append(sets.of(seen)[np.arange(20), true].mean())
    error = 3 * np.std(covered["same"]) / np.sqrt(repeats)
    assert 1 - alpha - error <= np.mean(covered["same"]) <= 1 - alpha + 1 / (held_out + 1) + error
    assert np.mean(covered["weighted"]) >= 1 - alpha - error
    assert np.mean(covered["not weighted"]) < 1 - alpha - error


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_relabelled_classes_get_the_same_sets_and_the_order_of_images_does_not_matter(score, weight):
    probabilities, labels = draw(TAIL, 60, seed=3)
    seen, _ = draw(TAIL, 50, seed=4)
    order, images = np.random.default_rng(5).permutation(CLASSES), np.random.default_rng(6).permutation(60)
    names = np.argsort(order)
    options = {"alpha": 0.2, "score": score, "class_weight": weight}
    sets = fit_sets(probabilities, labels, target_prior=uniform(CLASSES), **options)
    relabelled = fit_sets(
        probabilities[images][:, order], names[labels[images]], target_prior=uniform(CLASSES), **options
    )
    np.testing.assert_allclose(relabelled.thresholds, sets.thresholds[order], rtol=1e-9)
    np.testing.assert_array_equal(relabelled.held_out_counts, sets.held_out_counts[order])
    np.testing.assert_array_equal(relabelled.of(seen[:, order]), sets.of(seen)[:, order])


def test_by_default_a_class_with_two_held_out_images_stays_out_of_most_sets_of_others():
    mixture, counts = GaussianMixture(30, spread=0.8), np.array([40, 20, 10, 5, 4, 3] + [2] * 24)
    held_out = np.repeat(np.arange(30), counts)
    points = np.random.default_rng(7).normal(size=(len(held_out) + 1000, mixture.means.shape[1]))
    labels = np.append(held_out, np.random.default_rng(8).integers(0, 6, 1000))
    logits = (mixture.means[labels] + points) @ mixture.means.T - 0.5 * (mixture.means**2).sum(axis=1)
    probabilities = posteriors(logits)
    sets = fit_sets(probabilities[: len(held_out)], held_out).of(probabilities[len(held_out) :])
    assert sets[:, 6:].mean(axis=0).max() <= 0.5  # all test images are of other classes


def test_a_target_prior_equal_to_the_held_out_one_changes_nothing():
    probabilities, labels = draw(uniform(CLASSES), 60, seed=3)
    counts = np.bincount(labels, minlength=CLASSES)
    assert counts.all()
    same = fit_sets(probabilities, labels, target_prior=counts)
    np.testing.assert_array_equal(same.thresholds, fit_sets(probabilities, labels).thresholds)
    assert same.effective_images == pytest.approx(60)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 0.0}, "alpha must lie above 0 and below 1"),
        ({"alpha": 1}, "alpha must lie above 0 and below 1"),
        ({"score": "margin"}, "score must be one of softmax, prevalence, not 'margin'"),
        ({"class_weight": 1.5}, "class_weight must lie in 0 … 1"),
        ({"labels": [0, 0, 1, 3]}, "held-out labels must be class indices, 0 … 2"),
        ({"labels": [0, 0, 1]}, r"held-out labels need the shape \[4\]"),
        ({"held_out_probabilities": 2 * PROBABILITIES}, "held-out probabilities must be at least 0 with the sum 1"),
        ({"held_out_probabilities": np.full((4, 3), np.nan)}, "held-out probabilities must be at least 0"),
        ({"held_out_probabilities": np.empty((0, 3)), "labels": []}, r"need the shape \[N, C\]"),
        ({"target_prior": [1, 1]}, r"target_prior needs the shape \[3\]"),
        ({"held_out_prior": [1, 0, 1]}, "held_out_prior is 0 for a class that has held-out images"),
    ],
)
def test_mistakes_are_told_in_a_line(changed, message):
    arguments = {"held_out_probabilities": PROBABILITIES, "labels": LABELS} | changed
    with pytest.raises(ValueError, match=message):
        fit_sets(**arguments)


def test_sets_refuse_images_of_another_number_of_classes():
    with pytest.raises(ValueError, match="probabilities have 2 classes and the sets 3"):
        fit_sets(PROBABILITIES, LABELS).of(two_classes(0.5))

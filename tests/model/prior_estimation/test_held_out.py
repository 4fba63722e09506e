"""BBSE and RLLS, which learn from labelled held-out images how a predictor errs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.prior_estimation import HeldOut, PriorEvidence, bbse, rlls
from model.prior_estimation.rlls import deviation, regularised_weights
from tests.model.prior_estimation.simulated import GaussianMixture, distance, long_tail, posteriors, uniform

optimize = pytest.importorskip("scipy.optimize")

MIXTURE = GaussianMixture(5, spread=0.9)
TRUTH = np.array([0.05, 0.1, 0.2, 0.25, 0.4])
TEST = MIXTURE.draw(TRUTH, 2000, seed=0).logits
HELD_OUT = MIXTURE.draw(long_tail(5, 5), 1500, seed=1)
EVIDENCE = PriorEvidence(TEST, uniform(5), held_out=HELD_OUT)


def sure_of(classes: list[int], count: int) -> np.ndarray:
    """Logits that predict these of `count` classes."""
    return 5 * np.eye(count)[classes]


def conditional(held_out: HeldOut, *, soft: bool) -> np.ndarray:
    """[ŷ, y]: mean prediction of the held-out images of class y, class by class."""
    predictions = posteriors(held_out.logits) if soft else np.eye(5)[held_out.logits.argmax(axis=1)]
    return np.stack([predictions[held_out.labels == label].mean(axis=0) for label in range(5)], axis=1)


def test_bbse_by_hand():
    """Of class 0 a quarter, of class 1 nothing is mistaken; half the predictions are 0: π₀ · ¾ = ½."""
    held_out = HeldOut(sure_of([0, 0, 0, 1, 1, 1], 2), np.array([0, 0, 0, 0, 1, 1]))
    evidence = PriorEvidence(sure_of([0, 1], 2), [1, 1], held_out=held_out)
    np.testing.assert_allclose(bbse(evidence).prior, [2 / 3, 1 / 3])


@pytest.mark.parametrize("soft", [False, True])
def test_bbse_is_the_solution_of_the_matrix(soft):
    predictions = posteriors(TEST) if soft else np.eye(5)[TEST.argmax(axis=1)]
    expected = np.linalg.solve(conditional(HELD_OUT, soft=soft), predictions.mean(axis=0))
    assert expected.min() > 0
    np.testing.assert_allclose(bbse(EVIDENCE, soft=soft).prior, expected / expected.sum())


def test_what_bbse_solves_to_below_zero_is_set_to_zero():
    held_out = HeldOut(sure_of([0, 0, 0, 1, 1, 1], 2), np.array([0, 0, 0, 0, 1, 1]))
    evidence = PriorEvidence(sure_of([0, 0, 0, 0, 0], 2), [1, 1], held_out=held_out)
    np.testing.assert_allclose(bbse(evidence).prior, [1, 0])


@pytest.mark.parametrize("estimator", [bbse, rlls])
@pytest.mark.parametrize("soft", [False, True])
def test_a_predictor_that_is_not_calibrated_does_no_harm(estimator, soft):
    distort = 3 * np.eye(5) + 0.5
    wrong = HeldOut(HELD_OUT.logits @ distort, HELD_OUT.labels)
    assert distance(estimator(PriorEvidence(TEST @ distort, uniform(5), held_out=wrong), soft=soft).prior, TRUTH) < 0.15


@pytest.mark.parametrize("estimator", [bbse, rlls])
def test_the_distance_from_the_truth_falls_with_the_root_of_the_number_of_images(estimator):
    def mean_distance(size: int) -> float:
        distances = []
        for draw in range(12):
            held_out = MIXTURE.draw(uniform(5), size, seed=100 + draw)
            test = MIXTURE.draw(TRUTH, size, seed=draw)
            distances.append(
                distance(estimator(PriorEvidence(test.logits, uniform(5), held_out=held_out)).prior, TRUTH)
            )
        return float(np.mean(distances))

    assert 2.5 < mean_distance(500) / mean_distance(8000) < 6.5  # √16, and chance


@pytest.mark.parametrize("estimator", [bbse, rlls])
def test_a_class_without_held_out_images_gets_nothing_and_the_others_their_shares(estimator):
    seen = HELD_OUT.labels != 2
    evidence = PriorEvidence(TEST, uniform(5), held_out=HeldOut(HELD_OUT.logits[seen], HELD_OUT.labels[seen]))
    prior = estimator(evidence).prior
    assert prior[2] == 0
    assert prior.sum() == pytest.approx(1)
    assert prior.argmax() == 4


def objective(theta: np.ndarray, joint: np.ndarray, difference: np.ndarray, penalty: float) -> float:
    return float(np.linalg.norm(joint @ theta - difference) + penalty * np.linalg.norm(theta))


@pytest.mark.parametrize("penalty", [1e-4, 0.003, 0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_rlls_is_what_slsqp_finds(penalty, seed):
    random = np.random.default_rng(seed)
    columns = random.dirichlet(np.ones(5), 5) + 1.5 * np.eye(5)
    joint = (columns / columns.sum(axis=1, keepdims=True) * random.dirichlet(np.full(5, 3))[:, np.newaxis]).T
    target = random.dirichlet(np.ones(5))
    difference = target - joint.sum(axis=1)
    found = regularised_weights(joint, target, penalty) - 1
    references = [
        optimize.minimize(
            objective,
            start,
            args=(joint, difference, penalty),
            method="SLSQP",
            bounds=[(-1, None)] * 5,
            options={"ftol": 1e-14, "maxiter": 1000},
        ).x
        for start in (random.uniform(-0.5, 1, 5), np.full(5, 0.1), found + 1e-3)
    ]
    best = min([*references, np.zeros(5)], key=lambda theta: objective(theta, joint, difference, penalty))
    assert found.min() >= -1
    assert objective(found, joint, difference, penalty) <= objective(best, joint, difference, penalty) + 1e-9
    np.testing.assert_allclose(found, best, atol=2e-3)


def test_rlls_from_no_penalty_to_no_shift():
    np.testing.assert_allclose(rlls(EVIDENCE, alpha=0).prior, bbse(EVIDENCE).prior, atol=1e-9)
    np.testing.assert_allclose(rlls(EVIDENCE, alpha=1e3).prior, np.bincount(HELD_OUT.labels) / 1500)
    from_held_out = [
        distance(rlls(EVIDENCE, alpha=alpha).prior, np.bincount(HELD_OUT.labels) / 1500) for alpha in (0.05, 0.2, 0.5)
    ]
    assert from_held_out == sorted(from_held_out, reverse=True)


def test_the_penalty_by_hand():
    logarithm = math.log(2 * 5 / 0.05)
    expected = 3 * (2 * logarithm / (3 * 1500) + math.sqrt(2 * logarithm / 1500))
    assert deviation(1500, 5, 0.05) == pytest.approx(expected)
    assert rlls(EVIDENCE).parameters["penalty"] == pytest.approx(0.01 * expected)


@pytest.mark.parametrize("options", [{"alpha": -1}, {"alpha": math.nan}, {"delta": 0}, {"delta": 2}])
def test_mistakes(options):
    with pytest.raises(ValueError, match="must lie in"):
        rlls(EVIDENCE, **options)

"""The product of an evaluation: distribution × predictor × prior × metric, array arithmetic on stored logits.

Where a predictor has a calibration its logits are calibrated first: what estimates and corrects sees no others.

`N` images of the test split, `M` of a distribution, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from model.metrics import METRICS, LabelledLogits
from model.prior_estimation import HeldOut
from trainer.evaluation.aggregations import Predictor
from trainer.evaluation.applied_calibration import UNCALIBRATED, WeightsCalibration
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.predictor_logits import NetworkFacts, PredictorLogits
from trainer.evaluation.priors import NONE, FoundPrior, TestPrior
from trainer.evaluation.scores import scores_of


def evaluate(
    logits: np.ndarray,
    targets: np.ndarray,
    class_counts: Sequence[int] | None,
    *,
    distributions: Sequence[Distribution],
    predictors: Sequence[Predictor],
    priors: Sequence[TestPrior] = (NONE,),
    homes: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    held_out: HeldOut | None = None,
    intervals: bool = False,
    calibration: WeightsCalibration = UNCALIBRATED,
    views: np.ndarray | None = None,
    prior_replicates: int = 50,
) -> Iterator[dict[str, Any]]:
    """Score every predictor under every prior on every distribution.

    Args:
        logits: each expert's on the whole test split, [N, E, C].
        targets: labels of the test split, [N].
        class_counts: training images of each class, length C; None: unknown, and so are many, medium and few.
        distributions: which of the images count.
        predictors: see `trainer.evaluation.aggregations`.
        priors: see `trainer.evaluation.priors`.
        homes: see `NetworkFacts`; a predictor without one is left out where a prior's correction starts from it.
        class_names, held_out: see `NetworkFacts`.
        intervals: whether each metric has a bootstrap interval.
        calibration: of the predictors, each of which is left out where there is none for it.
        views: each expert's logits of two random views of the test split, [2, N, E, C], for predictors that learn.
        prior_replicates: resampled test sets for the intervals of an estimated prior; 0: rows have none of it.

    Yields:
        prior, calibration, home (the predictor's, in words), distribution, predictor, selection (how the distribution's
        images were chosen), images (M), and what `trainer.evaluation.scores.scores_of` has. With a calibration
        ece_before, the ECE without it under the very same test prior.

    Raises:
        UserError: the calibration was fitted to a predictor at home elsewhere.
    """
    facts = NetworkFacts(class_counts, class_names, homes, held_out, calibration)
    covered = [predictor for predictor in predictors if calibration.covers(predictor.name)]
    for distribution in distributions:
        selected, labels = logits[distribution.indices], targets[distribution.indices]
        for offered in covered:
            predictor = offered.learnt(None if views is None else views[:, distribution.indices])
            ours = facts.logits_of(predictor, selected, labels, replicates=prior_replicates)
            for prior in filter(ours.allows, priors):
                yield {
                    "prior": prior.name,
                    "calibration": calibration.name,
                    "home": ours.home_in_words,
                    "distribution": distribution.name,
                    "predictor": predictor.name,
                    "selection": distribution.selection,
                    **_learnt(predictor),
                    "images": len(labels),
                    **_scores(ours, prior, labels, intervals=intervals),
                }


def _learnt(predictor: Predictor) -> dict[str, Any]:
    """What a row has of a predictor that learns from the test images."""
    return {} if predictor.expert_weights is None else {"expert_weights": list(predictor.expert_weights)}


def _scores(ours: PredictorLogits, prior: TestPrior, labels: np.ndarray, *, intervals: bool) -> dict[str, Any]:
    """What a row has of a predictor's logits under a prior, and of the prior itself."""
    found, corrected = ours.under(prior)
    counts = ours.context.class_counts
    labelled = LabelledLogits(corrected, labels, None if counts is None else np.asarray(counts))
    before = {} if ours.calibrator is None else _before(prior.corrected(ours.combined, found, ours.context), labels)
    return {**scores_of(labelled, intervals=intervals), **before, **_in_columns(found, labels)}


def _before(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What a calibrated row has of the logits [M, C] without the calibration, under the same test prior."""
    return {"ece_before": METRICS["ece"].of_set(LabelledLogits(logits, labels, None))}


def _in_columns(found: FoundPrior | None, targets: np.ndarray) -> dict[str, Any]:
    """What a row has of an estimated prior: how it came about, its L1 distance from the test set's own, intervals."""
    if found is None or found.interval is None:
        return {}
    low, high = found.interval
    true = np.bincount(targets, minlength=len(found.prior)) / len(targets)
    return {
        "prior_in_words": found.in_words,
        "prior_l1": float(np.abs(found.prior - true).sum()),
        "prior_spread": found.spread,
        "test_prior": found.prior.tolist(),
        "test_prior_low": low.tolist(),
        "test_prior_high": high.tolist(),
    }

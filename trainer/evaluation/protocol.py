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
from trainer.evaluation.home import home_in_words
from trainer.evaluation.priors import NONE, FoundPrior, PriorContext, TestPrior
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
        class_counts: training images of each class, length C; the groups many, medium, few follow from them; None:
            unknown, and so are the groups.
        distributions: which of the images count.
        predictors: see `trainer.evaluation.aggregations`.
        priors: see `trainer.evaluation.priors`.
        homes: the class prior under which each expert's logits are right [E, C], or their mean's [1, C]; None: unknown.
            A predictor without one is left out where a prior's correction starts from it.
        class_names: length C, for priors that name their classes; None: the indices.
        held_out: each expert's logits [K, E, C] and labels [K] of images that the network was not trained on.
        intervals: whether each metric has a bootstrap interval.
        calibration: of the predictors, each of which is left out where there is none for it.
        views: each expert's logits of two random views of the test split, [2, N, E, C], for predictors that learn from
            them.
        prior_replicates: resampled test sets for the intervals of an estimated prior; 0: rows have none of it.

    Yields:
        prior, calibration, home (the predictor's, in words), distribution, predictor, selection (how the distribution's
        images were chosen), images (M), and what `trainer.evaluation.scores.scores_of` has. With a calibration
        ece_before, the ECE without it under the very same test prior.

    Raises:
        UserError: the calibration was fitted to a predictor at home elsewhere.
    """
    counts, num_classes = None if class_counts is None else np.asarray(class_counts), logits.shape[2]
    names = class_names or [str(label) for label in range(num_classes)]
    for distribution in distributions:
        selected = logits[distribution.indices]
        for offered in predictors:
            if not calibration.covers(offered.name):
                continue
            predictor = offered.learnt(None if views is None else views[:, distribution.indices])
            combined = predictor.combine(selected)  # [M, E, C] → [M, C]
            home = None if homes is None else predictor.home(homes)
            calibrator = calibration.calibrator(predictor.name, home_in_words(home, counts))
            calibrate = calibrator or _as_they_are
            calibrated = calibrate(combined)
            ours = held_out and HeldOut(calibrate(predictor.combine(np.asarray(held_out.logits))), held_out.labels)
            labels = targets[distribution.indices]
            context = PriorContext(labels, class_counts, names, home, ours, prior_replicates)
            for prior in priors:
                if prior.from_home and home is None:
                    continue
                found = prior.found(calibrated, context)
                labelled = LabelledLogits(prior.corrected(calibrated, found, context, calibrator), labels, counts)
                yield {
                    "prior": prior.name,
                    "calibration": calibration.name,
                    "home": home_in_words(home, counts),
                    "distribution": distribution.name,
                    "predictor": predictor.name,
                    "selection": distribution.selection,
                    **({} if predictor.expert_weights is None else {"expert_weights": list(predictor.expert_weights)}),
                    "images": len(labels),
                    **scores_of(labelled, intervals=intervals),
                    **(_before(prior.corrected(combined, found, context), labels) if calibrator else {}),
                    **_in_columns(found, labels),
                }


def _as_they_are(logits: np.ndarray) -> np.ndarray:
    return logits


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

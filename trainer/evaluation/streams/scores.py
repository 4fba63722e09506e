"""Accuracy along a stream: with no test prior, with the true one of each batch, and with one that follows the stream.

`N` images of the test split, `M` that arrive, `T` batches, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics import LabelledLogits
from model.prior_estimation import HeldOut
from model.prior_estimation.following import FOLLOWERS, batches
from trainer.evaluation.aggregations import Predictor
from trainer.evaluation.applied_calibration import UNCALIBRATED, WeightsCalibration
from trainer.evaluation.predictor_logits import NetworkFacts, PredictorLogits
from trainer.evaluation.priors import NONE, PRIORS, FoundPrior, PriorContext, TestPrior
from trainer.evaluation.priors.context import class_frequencies
from trainer.evaluation.scores import scores_of
from trainer.evaluation.streams.schedule import StreamSchedule

_MOST_IMAGES, _BINS = 1000, 10


def evaluate_stream(
    logits: NDArray[np.floating],
    targets: NDArray[np.integer],
    class_counts: Sequence[int] | None,
    *,
    arriving: StreamSchedule,
    predictor: Predictor,
    prior: TestPrior = NONE,
    follower: str = "window",
    homes: NDArray[np.floating] | None = None,
    class_names: Sequence[str] | None = None,
    held_out: HeldOut | None = None,
    calibration: WeightsCalibration = UNCALIBRATED,
) -> Iterator[dict[str, Any]]:
    """Score one predictor on a stream, under no prior, the true one of each batch, and the given one.

    An estimated prior is estimated anew with each batch, from the images so far and without labels. One that is read
    from a file is the same for all batches.

    Args:
        logits: each expert's on the whole test split, [N, E, C].
        targets: labels of the test split, [N].
        class_counts: training images of each class, length C; None: unknown.
        arriving: which images, when.
        predictor: see `trainer.evaluation.aggregations`.
        prior: see `trainer.evaluation.priors`.
        follower: how an estimate follows the stream, of `model.prior_estimation.following.FOLLOWERS`.
        homes: see `NetworkFacts`; where they are unknown only "none" is scored.
        class_names, held_out, calibration: see `NetworkFacts`.

    Yields:
        the columns of `trainer.evaluation.protocol.evaluate` for the whole stream, and images_along, the images of each
        bin of time (a thousand, or a tenth of a shorter stream), accuracy_along, and with an estimated prior
        prior_l1_along, its mean distance from the true one.
    """
    facts = NetworkFacts(class_counts, class_names, homes, held_out, calibration)
    labels, ours = targets[arriving.indices], facts.logits_of(predictor, logits[arriving.indices])
    counts = None if class_counts is None else np.asarray(class_counts)
    chosen = {each.name: each for each in (NONE, PRIORS["known"], prior)}
    for each in filter(ours.allows, chosen.values()):
        priors = priors_along(each, ours.calibrated, arriving, ours.context, follower=follower)
        labelled = LabelledLogits(_corrected(each, ours, priors, arriving), labels, counts)
        yield {
            "prior": each.name if each.estimator is None else f"{each.name}, {follower}",
            "calibration": calibration.name,
            "home": ours.home_in_words,
            "distribution": arriving.name,
            "predictor": predictor.name,
            "selection": "stream",
            "images": len(labels),
            **scores_of(labelled),
            **_along(labelled.correct, None if each.estimator is None else priors, arriving),
        }


def priors_along(
    prior: TestPrior,
    logits: NDArray[np.floating],
    arriving: StreamSchedule,
    context: PriorContext,
    *,
    follower: str = "window",
) -> NDArray[np.float64] | None:
    """The test prior that each batch of a predictor's logits [M, C] is corrected to, [T, C]; None: none is."""
    whole = batches(len(logits), arriving.batch_size)
    if prior.find is class_frequencies:
        return np.stack([arriving.batch_prior(batch) for batch in whole])
    if prior.estimator is None:
        found = prior.found(logits, context)
        return None if found is None else np.tile(found.prior, (len(whole), 1))
    estimator, home = prior.estimator, context.home
    if home is None:
        raise ValueError("the prior that the predictor is at home on is unknown")

    def estimate(images: NDArray[np.floating], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return estimator(context.evidence(images), image_weights=weights).prior

    return FOLLOWERS[follower](logits, arriving.batch_size, estimate, home)


def bins(images: int) -> list[slice]:
    """The bins of time of a stream: a thousand images each, or a tenth of fewer than 10,000."""
    return batches(images, min(_MOST_IMAGES, -(-images // _BINS)))


def _corrected(
    prior: TestPrior, ours: PredictorLogits, priors: NDArray[np.float64] | None, arriving: StreamSchedule
) -> NDArray[np.floating]:
    if priors is None:
        return ours.calibrated
    logits, context, calibrator = ours.calibrated, ours.context, ours.calibrator
    parts = zip(batches(len(logits), arriving.batch_size), priors, strict=True)
    return np.concatenate(
        [prior.corrected(logits[batch], FoundPrior(own), context, calibrator) for batch, own in parts]
    )


def _along(
    correct: NDArray[np.bool_], estimates: NDArray[np.float64] | None, arriving: StreamSchedule
) -> Mapping[str, Any]:
    """Columns of time: accuracy and distance of the estimates [T, C] in each bin."""
    of_time = bins(len(correct))
    columns: dict[str, Any] = {
        "images_along": [part.stop - part.start for part in of_time],
        "accuracy_along": [float(correct[part].mean()) for part in of_time],
    }
    if estimates is not None:
        whole = batches(len(correct), arriving.batch_size)
        distances = [
            np.abs(own - arriving.batch_prior(batch)).sum() for own, batch in zip(estimates, whole, strict=True)
        ]
        of_image = np.repeat(distances, [batch.stop - batch.start for batch in whole])
        columns["prior_l1"] = float(of_image.mean())
        columns["prior_l1_along"] = [float(of_image[part].mean()) for part in of_time]
    return columns

"""Prediction sets of given images: which classes each has, and what is promised of them, to whom, in words.

`N` images, `C` classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.prediction_sets import PredictionSets
from trainer.evaluation.priors import NONE, TestPrior
from trainer.inference.answers import Answers
from trainer.inference.stored_sets import StoredSets

_NAMED = 10


@dataclass(frozen=True, eq=False)
class AnsweredSets:
    """Prediction sets of some images.

    Args:
        members: whether each class is in each image's set, [N, C].
        sets: their thresholds.
        promise: what holds of them, sentences for people.
    """

    members: NDArray[np.bool_]
    sets: PredictionSets
    promise: list[str]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Classes in each set, [N]."""
        return self.members.sum(axis=1)


def answered_sets(
    answers: Answers, stored: StoredSets, *, weights: str, alpha: float, prior: TestPrior, calibrated: bool
) -> AnsweredSets:
    """The sets of answered images; under a test prior, known or estimated, thresholds are weighted towards it.

    Args:
        answers: of the network, with the test prior that was found.
        stored: what was fitted to the checkpoint.
        weights: the network's, "raw" or "averaged".
        alpha: which part of the sets may miss the right class, above 0 and below 1.
        prior: how `answers.found` was come by.
        calibrated: the answers' probabilities are; the sets are made of those before that.

    Raises:
        UserError: nothing was fitted to these weights.
    """
    target = None if answers.found is None else answers.found.prior
    sets = stored.of(weights).sets(alpha=alpha, target_prior=target)
    members = sets.of(answers.home_probabilities)
    told = [*_promised(sets, stored, prior), *_weighted(sets, prior), *_degenerate(sets, members, answers.class_names)]
    if calibrated:
        told.append("the sets are of the probabilities before the calibration, which those images were used for")
    return AnsweredSets(members, sets, told)


def _promised(sets: PredictionSets, stored: StoredSets, prior: TestPrior) -> list[str]:
    whom = "drawn like these, with their class frequencies"
    if prior is not NONE:
        source = "was estimated here" if prior.estimator is not None else f"the {prior.name} says"
        whom = f"whose classes look like these images' and are as frequent as {source}"
    return [
        f"prediction sets, α = {sets.alpha:g}, from {stored.fitted_on}, which nothing else was fitted to",
        f"promised: the right class is in at least {100 * (1 - sets.alpha):g} % of the sets of images {whom}, all "
        "classes together and in the mean over draws; nothing of a single class or image",
    ]


def _weighted(sets: PredictionSets, prior: TestPrior) -> list[str]:
    """What another class prior than the held-out images' costs, and what the promise then rests on."""
    if prior is NONE:
        return []
    told = (
        f"thresholds are weighted to those frequencies: {sets.held_out_counts.sum()} held-out images count as "
        f"{sets.effective_images:.1f} of equal weight"
    )
    if prior.estimator is None:
        return [told]
    return [told, "the frequencies are an estimate, and the promise is worth no more than that is"]


def _degenerate(sets: PredictionSets, members: NDArray[np.bool_], class_names: Sequence[str]) -> list[str]:
    """Thresholds and sets that say nothing."""
    told, infinite = [], np.isinf(sets.thresholds)
    if infinite.all():
        needed = math.ceil(round(1 / sets.alpha - 1, 9))
        told.append(f"every set has every class: too few held-out images for this α, which takes {needed} at least")
    elif infinite.any():
        names = [name for name, always in zip(class_names, infinite, strict=True) if always]
        shown = ", ".join(names[:_NAMED]) + f" and {len(names) - _NAMED} more" * (len(names) > _NAMED)
        told.append(f"in every set, since held-out images say too little of them: {shown}")
    if empty := int((~members.any(axis=1)).sum()):
        told.append(f"{empty} sets are empty: no class fits those images as right classes do")
    return told

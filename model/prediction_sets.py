"""Prediction sets: the classes that an image may well have, with a promise of how often the right one is among them.

Split conformal prediction. A *score* says how badly a class fits an image. Held-out labelled images tell how bad the
score of the right class gets; a set has every class whose score is not worse than all but α of those. Pure NumPy.

Shapes: `M` held-out images, `N` images, `C` classes. Sources: Ding, Fermanian, Salmon, arXiv 2507.06867 (long tails:
prevalence-adjusted softmax, interpolated thresholds); Podkopaev and Ramdas, UAI 2021 (another class prior).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.conformal_quantiles import (
    class_quantiles,
    effective_size,
    importance_weights,
    interpolated,
    weighted_quantiles,
)
from model.prior_estimation.checks import Floats, checked_labels, checked_prior, checked_range
from utils.row_blocks import row_blocks

_SUM_TOLERANCE = 1e-3


class Score(NamedTuple):
    """How badly classes fit images.

    Attributes:
        of: scores [N, C] of probabilities [N, C], their home prior [C], and the held-out images' prior [C].
        largest: that any class can have.
    """

    of: Callable[[Floats, Floats, Floats], Floats]
    largest: float


def _softmax_score(probabilities: Floats, _home_prior: Floats, _held_out_prior: Floats) -> Floats:
    """1 − p(y|x)."""
    return 1 - probabilities


def _prevalence_score(probabilities: Floats, home_prior: Floats, held_out_prior: Floats) -> Floats:
    """−p(y|x)/π(y), where p is the posterior under π, the held-out images' prior.

    In terms of the posterior q under another prior h: −(q/h)(y) / Σ_c π(c) (q/h)(c), which a class with π = 0 has, too.
    """
    ratios = np.divide(probabilities, home_prior, out=np.zeros_like(probabilities), where=home_prior > 0)
    totals = (ratios @ held_out_prior)[:, np.newaxis]
    unlike_any = np.where(ratios > 0, np.inf, 0.0)  # of an image that only classes outside of the held-out prior fit
    return -np.divide(ratios, totals, out=unlike_any, where=totals > 0)


SCORES = {"softmax": Score(_softmax_score, 1.0), "prevalence": Score(_prevalence_score, 0.0)}
"""`softmax`: small sets for coverage over all. `prevalence`: small sets for the mean of the classes' coverages."""


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """Which classes belong into an image's set.

    Args:
        thresholds: [C], the largest score with which a class is in a set; inf: it is in every set.
        effective_images: how many held-out images of equal weight say as much, (Σw)²/Σw²; M without another prior.
        held_out_counts: [C], held-out images of each class.
        alpha: which part of the sets may miss the right class.
        score: a name in `SCORES`.
        class_weight: how far the thresholds are the classes' own. Only 0 keeps the promise of coverage over all.
        home_prior: [C], of the probabilities.
        held_out_prior: [C], of the held-out images.
    """

    thresholds: Floats
    effective_images: float
    held_out_counts: NDArray[np.intp]
    alpha: float
    score: str
    class_weight: float
    home_prior: Floats
    held_out_prior: Floats

    def of(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Whether each class is in each image's set [N, C], for probabilities [N, C] made like the held-out images'.

        A set may be empty: no class fits as well as right classes do.

        Raises:
            ValueError: no probabilities of C classes.
        """
        values = _checked_probabilities("probabilities", probabilities)
        if values.shape[1] != self.thresholds.size:
            raise ValueError(f"probabilities have {values.shape[1]} classes and the sets {self.thresholds.size}")
        sets = np.empty(values.shape, dtype=np.bool_)
        for rows in row_blocks(*values.shape):
            sets[rows] = self.scores(values[rows]) <= self.thresholds
        return sets

    def scores(self, probabilities: NDArray[np.floating]) -> Floats:
        """How badly each class fits [N, C]: the score of probabilities [N, C]."""
        return SCORES[self.score].of(probabilities.astype(np.float64), self.home_prior, self.held_out_prior)


@dataclass(frozen=True, eq=False)
class LabelScores:
    """How badly held-out images' right classes fit: all that is needed of them, whatever α and the prior to come.

    Args:
        label_scores: [M], of each image's label.
        labels: [M].
        score: a name in `SCORES`.
        home_prior: [C], of the probabilities.
        held_out_prior: [C], that the images were drawn from.
    """

    label_scores: Floats
    labels: NDArray[np.integer]
    score: str
    home_prior: Floats
    held_out_prior: Floats

    @classmethod
    def of(
        cls,
        probabilities: ArrayLike,
        labels: ArrayLike,
        *,
        score: str = "prevalence",
        home_prior: ArrayLike | None = None,
        held_out_prior: ArrayLike | None = None,
    ) -> LabelScores:
        """Of probabilities [M, C] and labels [M]; arguments and errors as of `fit_sets`."""
        values = _checked_probabilities("held-out probabilities", probabilities)
        size, classes = values.shape
        checked = checked_labels("held-out labels", labels, size, classes)
        counts = np.bincount(checked, minlength=classes)
        if score not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)}, not {score!r}")
        home = checked_prior("home_prior", np.ones(classes) if home_prior is None else home_prior, classes)
        source = checked_prior("held_out_prior", counts if held_out_prior is None else held_out_prior, classes)
        if not source[counts > 0].all():
            raise ValueError("held_out_prior is 0 for a class that has held-out images")
        of_all = SCORES[score].of(values.astype(np.float64), home, source)
        return cls(of_all[np.arange(size), checked], checked, score, home, source)

    def sets(
        self, *, alpha: float = 0.1, class_weight: float = 0.0, target_prior: ArrayLike | None = None
    ) -> PredictionSets:
        """The sets that these images give; arguments and errors as of `fit_sets`."""
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie above 0 and below 1, not {alpha}")
        classes = self.home_prior.size
        target = None if target_prior is None else checked_prior("target_prior", target_prior, classes)
        weights = importance_weights(target, self.held_out_prior)
        image_weights = weights[self.labels]
        return PredictionSets(
            thresholds=interpolated(
                weighted_quantiles(self.label_scores, image_weights, weights, alpha),
                class_quantiles(self.label_scores, self.labels, classes, alpha, SCORES[self.score].largest),
                checked_range("class_weight", class_weight, 0, 1),
            ),
            effective_images=effective_size(image_weights),
            held_out_counts=np.bincount(self.labels, minlength=classes),
            alpha=alpha,
            score=self.score,
            class_weight=class_weight,
            home_prior=self.home_prior,
            held_out_prior=self.held_out_prior,
        )


def fit_sets(
    held_out_probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = 0.1,
    score: str = "prevalence",
    class_weight: float = 0.0,
    home_prior: ArrayLike | None = None,
    held_out_prior: ArrayLike | None = None,
    target_prior: ArrayLike | None = None,
) -> PredictionSets:
    """Thresholds of prediction sets, from held-out images.

    With `class_weight` 0 the right class is in at least 1 − α of the sets of images that are drawn like the held-out
    ones, all classes together and in the mean over draws of both; with a target prior, of images drawn from that one
    whose classes look the same. Nothing is promised of a single class, and nothing where a prior is an estimate.

    The defaults were measured on long tails: of the scores that cover rare classes about as often as all, `prevalence`
    makes the smallest sets, and a class with two held-out images does not get into everybody's.

    Args:
        held_out_probabilities: [M, C], M ≥ 1, of images that nothing was fitted to: no network, epoch or temperature.
        labels: [M].
        alpha: above 0 and below 1.
        score: a name in `SCORES`.
        class_weight: w, 0 … 1. Thresholds are (1 − w)·q + w·q_y, q that of all classes together, q_y that of class y
            alone, which with fewer than 1/α − 1 held-out images is the largest possible score: at w = 1 the class is in
            every set.
        home_prior: [C], under which the probabilities are right; None: uniform. Only `prevalence` asks for it.
        held_out_prior: [C], frequencies or counts that the held-out images were drawn from; None: their labels'.
        target_prior: [C], of the images to come, where it is another; None: as the held-out images'.

    Raises:
        ValueError: other shapes, no probabilities, labels that are no classes, numbers out of range, or a held-out
            prior of 0 for the class of a held-out image.
    """
    held_out = LabelScores.of(
        held_out_probabilities, labels, score=score, home_prior=home_prior, held_out_prior=held_out_prior
    )
    return held_out.sets(alpha=alpha, class_weight=class_weight, target_prior=target_prior)


def _checked_probabilities(name: str, probabilities: ArrayLike) -> NDArray[np.floating]:
    values = np.asarray(probabilities)
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind != "f":
        raise ValueError(f"{name} need the shape [N, C] and floating-point numbers, not {list(values.shape)}")
    totals = values.sum(axis=1, dtype=np.float64)
    if not (values.min() >= 0 and np.abs(totals - 1).max() <= _SUM_TOLERANCE):  # not so for nan
        raise ValueError(f"{name} must be at least 0 with the sum 1 in each row")
    return values

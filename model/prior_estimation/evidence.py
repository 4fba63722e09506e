"""What an estimator of the test prior may know, and the likelihood of a prior.

Shapes: `N` unlabelled test images, `M` labelled held-out images, `C` classes, `R` priors or weightings of the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from model.calibration import log_normaliser, softmax
from model.prior_estimation.checks import (
    Floats,
    checked_labels,
    checked_logits,
    checked_prior,
    checked_weights,
)
from utils.row_blocks import row_blocks

UNKNOWN_ERROR = 0.3
"""Taken for the relative error of a class's mean prediction where no held-out image of it says how large it is."""

_SMALLEST = np.finfo(np.float64).tiny
_PSEUDO_IMAGES = 2  # of the spread of one prediction: two images that agree do not make it certain


class HeldOut(NamedTuple):
    """Labelled images that the network was not trained on."""

    logits: ArrayLike  # [M, C], or log-posteriors
    labels: ArrayLike  # [M], class indices


@dataclass(frozen=True, eq=False)
class PriorEvidence:
    """Unlabelled test images as a predictor sees them, and what is known beside them.

    What all estimators need is computed at its first use and kept, N·C numbers in float64: give several estimators
    the same object.

    Args:
        logits: [N, C] with N ≥ 1: logits or log-posteriors of the test images; −∞ rules a class out.
        home_prior: [C], the prior that the predictor's posteriors are right under: frequencies or counts. Uniform for
            the mean of BalPoE's experts, the training prior for plain cross-entropy.
        training_prior: [C], frequencies or counts of the training images; for `tilt` and `centred_map_em`.
        held_out: labelled images; for `bbse` and `rlls`, and for a better `source_prior`.

    Raises:
        ValueError: another shape, a number that is none, a prior that is negative or all 0, a label that is no class,
            an image without probability on any class that `home_prior` allows.
    """

    logits: ArrayLike
    home_prior: ArrayLike
    training_prior: ArrayLike | None = None
    held_out: HeldOut | None = None

    def __post_init__(self) -> None:
        logits = checked_logits("logits", self.logits)
        home = checked_prior("home_prior", self.home_prior, logits.shape[1])
        if np.isneginf(logits[:, home > 0].max(axis=1)).any():
            raise ValueError("logits: an image has no probability on any class whose home_prior is above 0")
        checked: dict[str, object] = {"logits": logits, "home_prior": home}
        if self.training_prior is not None:
            checked["training_prior"] = checked_prior("training_prior", self.training_prior, home.size)
        if self.held_out is not None:
            held_out_logits = checked_logits("held-out logits", self.held_out.logits)
            if held_out_logits.shape[1] != home.size:
                raise ValueError(f"held-out logits have {held_out_logits.shape[1]} classes, logits {home.size}")
            labels = checked_labels("held-out labels", self.held_out.labels, len(held_out_logits), home.size)
            checked["held_out"] = HeldOut(held_out_logits, labels)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, C)."""
        size, classes = np.shape(self.logits)
        return size, classes

    def weightings(self, image_weights: ArrayLike | None) -> Floats:
        """Weights of the test images, [N] or [R, N], as rows [R, N] with the sum 1; None is one row, all equal."""
        return checked_weights(image_weights, self.shape[0])

    @cached_property
    def source_prior(self) -> Floats:
        """What posteriors are divided by, [C]: `home_prior`, or with held-out images the mean prediction under it.

        With the mean prediction "no shift" is a fixed point, calibrated or not (Alexandari, Kundaje, Shrikumar, ICML
        2020). Each class's held-out images are weighed to its share of `home_prior`; a class without any counts as
        predicted right.
        """
        home = np.asarray(self.home_prior)
        if self.held_out is None:
            return home
        labels = np.asarray(self.held_out.labels)
        counts = np.bincount(labels, minlength=home.size)
        share_of_image = np.divide(home, counts, out=np.zeros_like(home), where=counts > 0)[labels]  # [M]
        mean_prediction = share_of_image @ softmax(np.asarray(self.held_out.logits, dtype=np.float64))
        return mean_prediction + np.where(counts > 0, 0.0, home)

    @cached_property
    def source_errors(self) -> Floats:
        """How far `source_prior` may be from what the predictor really says without a shift, relative to it: [C].

        A standard error, from the spread of the predictions of each class's held-out images. Classes without any are
        wrong by `UNKNOWN_ERROR`, and so are all without held-out images.
        """
        home = np.asarray(self.home_prior)
        if self.held_out is None:
            return np.full(home.size, UNKNOWN_ERROR)
        labels = np.asarray(self.held_out.labels)
        predictions = softmax(np.asarray(self.held_out.logits, dtype=np.float64))  # [M, C]
        counts = np.bincount(labels, minlength=home.size)
        variances = np.square(np.where(counts > 0, 0.0, UNKNOWN_ERROR * home))
        for label in np.flatnonzero(counts):
            of_class = predictions[labels == label]
            mean, count = of_class.mean(axis=0), counts[label]
            spread = (count * of_class.var(axis=0) + _PSEUDO_IMAGES * mean * (1 - mean)) / (count + _PSEUDO_IMAGES)
            variances += home[label] ** 2 * spread / count
        source = self.source_prior
        return np.divide(np.sqrt(variances), source, out=np.zeros_like(source), where=source > 0)

    @property
    def ratios(self) -> Floats:
        """p(c|x) / π_source(c), each image's divided by its largest: [N, C]; 0 for classes whose source prior is 0."""
        return self._ratios_and_scales[0]

    @cached_property
    def _ratios_and_scales(self) -> tuple[Floats, Floats]:
        """`ratios` [N, C], and the logarithm of what each image's were divided by [N].

        The largest being 1, no product with a prior that is positive where a ratio is can vanish: this is log-sum-exp
        with its exponentials computed once for all iterations.
        """
        ratios, log_scales = np.empty(self.shape), np.empty(self.shape[0])
        possible = self.source_prior > 0
        log_source = np.log(np.where(possible, self.source_prior, 1.0))
        for rows in row_blocks(*self.shape):
            logits = np.asarray(self.logits)[rows].astype(np.float64)
            logits -= log_normaliser(logits)[:, np.newaxis] + log_source
            logits[:, ~possible] = -np.inf
            log_scales[rows] = logits.max(axis=1)
            np.exp(logits - log_scales[rows, np.newaxis], out=ratios[rows])
        return ratios, log_scales

    def expectation(self, priors: Floats, weightings: Floats) -> tuple[Floats, Floats]:
        """The E-step for R priors at a time.

        Args:
            priors: [R, C], each positive where ratios are, with the sum 1.
            weightings: [R, N], a weighting of the images for each prior.

        Returns:
            The mean of the images' posteriors under each prior [R, C], and the mean log-likelihood of an image [R].
        """
        mixtures = np.maximum(priors @ self.ratios.T, _SMALLEST)  # [R, N]; 0 only where an image's weight is 0
        posteriors = priors * ((weightings / mixtures) @ self.ratios)
        logs = np.log(mixtures, out=mixtures) + self._ratios_and_scales[1]
        return posteriors, np.einsum("rn,rn->r", weightings, logs)

    def image_log_likelihoods(self, priors: ArrayLike) -> Floats:
        """log Σ_c π(c)/π_source(c) · p(c|x_i) of each image under each of priors [R, C]: [R, N], in nats.

        It is the logarithm of p(x_i) under that prior relative to p(x_i) under the source prior. −∞ where a prior rules
        out all that the image may be.
        """
        with np.errstate(divide="ignore"):
            return np.log(np.atleast_2d(priors) @ self.ratios.T) + self._ratios_and_scales[1]

    def required_training_prior(self, estimator: str) -> Floats:
        """`training_prior` [C], or a ValueError that names the estimator that needs it."""
        if self.training_prior is None:
            raise ValueError(f"{estimator} needs training_prior, the class frequencies of the training images")
        return np.asarray(self.training_prior)

    def required_held_out(self, estimator: str) -> HeldOut:
        """`held_out`, or a ValueError that names the estimator that needs it."""
        if self.held_out is None:
            raise ValueError(f"{estimator} needs held_out, labelled images that the network was not trained on")
        return self.held_out

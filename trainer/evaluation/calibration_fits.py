"""Fits calibrations to held-out images: every predictor of every network, and by which method.

`M` held-out images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.calibration import log_normaliser
from model.cross_fitting import FOLDS, HeldOutScores, cross_fitted, held_out_scores
from model.posthoc_calibration import BY_LIKELIHOOD, CALIBRATIONS
from model.priors import adjust_logits
from model.shift_sharpening import divergence
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.calibrations import FittedPredictor
from trainer.evaluation.home import home_in_words
from utils.reporting.tables import decimal

FEWEST_IMAGES = 2 * FOLDS
_FITTED_AGGREGATIONS = ("mean", "experts")


@dataclass(frozen=True, eq=False)
class HeldOutPredictor:
    """One predictor on held-out images.

    Args:
        weights: "raw" or "averaged".
        name: "ensemble", "expert 0", …
        logits: its combined ones, [M, C].
        home: the class prior that it is right under, [C].
        home_in_words: the same for tables.
    """

    weights: str
    name: str
    logits: np.ndarray
    home: np.ndarray
    home_in_words: str

    def fitted(self, method: str, labels: np.ndarray) -> FittedPredictor:
        """Its calibration by a method of `model.posthoc_calibration.CALIBRATIONS`."""
        return FittedPredictor(CALIBRATIONS[method](self.logits, labels, self.home), self.home_in_words)

    def scores(self, method: str, labels: np.ndarray) -> tuple[HeldOutScores, HeldOutScores]:
        """Without a calibration, and with it: of each fifth of the images by a fit to the others."""
        own = adjust_logits(self.logits, np.bincount(labels, minlength=len(self.home)), home_prior=self.home)
        calibrated = cross_fitted(CALIBRATIONS[method], self.logits, labels, self.home)
        return held_out_scores(own, labels), held_out_scores(calibrated, labels)

    def is_at_home_on_the_tail(self, labels: np.ndarray) -> bool:
        """Whether the home prior is less than half as far from the held-out images' prior as the uniform one is."""
        classes = len(self.home)
        own = np.bincount(labels, minlength=classes)
        return divergence(own, self.home) < divergence(own, np.ones(classes)) / 2


def held_out_predictors(
    logits: Mapping[str, np.ndarray], homes: np.ndarray | None, class_counts: Sequence[int] | None
) -> list[HeldOutPredictor]:
    """The predictors that a calibration can be fitted to: those whose home prior is known.

    Args:
        logits: each expert's of the held-out images [M, E, C], by the name of the weights.
        homes: the class prior that each expert [E, C], or their mean alone [1, C], is right under; None: unknown.
        class_counts: training images of each class, length C; None: unknown.
    """
    found = []
    for weights, values in logits.items():
        for predictor in predictors(_FITTED_AGGREGATIONS, values.shape[1]):
            home = None if homes is None else predictor.home(homes)
            if home is not None:
                combined, words = predictor.combine(values), home_in_words(home, class_counts)
                found.append(HeldOutPredictor(weights, predictor.name, combined, home, words))
    return found


def fitted_by_weights(
    held_out: Sequence[HeldOutPredictor], method: str, labels: np.ndarray
) -> dict[str, dict[str, FittedPredictor]]:
    """The predictors' calibrations by weights and name."""
    found: dict[str, dict[str, FittedPredictor]] = {}
    for predictor in held_out:
        found.setdefault(predictor.weights, {})[predictor.name] = predictor.fitted(method, labels)
    return found


def chosen_method(predictor: HeldOutPredictor, labels: np.ndarray) -> tuple[str, str]:
    """The method for a predictor, and in words why.

    One at home on a long tail gets "sts": what is wrong with it shows under other priors than the held-out images',
    and −log p under theirs is blind to that. Of the others it is the one whose −log p is lowest on images that it was
    not fitted to; of more numbers only for more than chance. Methods come in the order of their numbers of parameters.
    The next one is taken where the mean of what it gains on an image is above its standard error. So a class with a
    few images is calibrated for itself where that pays.
    """
    if predictor.is_at_home_on_the_tail(labels):
        return "sts", f"method sts: the {predictor.name} is at home on a long tail ({predictor.home_in_words})"
    losses = {
        name: _losses(cross_fitted(CALIBRATIONS[name], predictor.logits, labels, predictor.home), labels)
        for name in BY_LIKELIHOOD
    }
    best, *others = losses
    for name in others:
        gains = losses[best] - losses[name]
        if gains.mean() > gains.std(ddof=1) / np.sqrt(gains.size):
            best = name
    told = ", ".join(f"{name} {decimal(float(values.mean()))}" for name, values in losses.items())
    why = f"by the {predictor.name}'s cross-fitted NLL: {told}; more numbers must gain more than chance"
    return best, f"method {best}, {why}"


def _losses(corrected: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−log p of each image [M] of logits [M, C]."""
    return log_normaliser(corrected) - corrected[np.arange(len(labels)), labels]

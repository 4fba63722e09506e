"""Fits calibrations to held-out images: every predictor of every network, and by which method.

`M` held-out images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.calibration import log_normaliser
from model.cross_fitting import FOLDS, HeldOutScores, cross_fitted, held_out_scores, under_own_frequencies
from model.posthoc_calibration import CALIBRATIONS
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.calibrations import FittedPredictor
from trainer.evaluation.home import home_in_words

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
        calibrated = cross_fitted(CALIBRATIONS[method], self.logits, labels, self.home)
        return held_out_scores(self.logits, labels, self.home), held_out_scores(calibrated, labels, self.home)


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


def chosen_method(predictor: HeldOutPredictor, labels: np.ndarray) -> tuple[str, dict[str, float]]:
    """The method whose −log p is lowest on images that it was not fitted to; of more numbers only for more than chance.

    Methods come in the order of their numbers of parameters. The next one is taken where the mean of what it gains on
    an image is above its standard error. So a class with a few images is calibrated for itself where that pays.

    Returns:
        the method's name, and each method's mean −log p.
    """
    losses = {
        name: _losses(cross_fitted(fit, predictor.logits, labels, predictor.home), labels, predictor.home)
        for name, fit in CALIBRATIONS.items()
    }
    best, *others = losses
    for name in others:
        gains = losses[best] - losses[name]
        if gains.mean() > gains.std(ddof=1) / np.sqrt(gains.size):
            best = name
    return best, {name: float(values.mean()) for name, values in losses.items()}


def _losses(logits: np.ndarray, labels: np.ndarray, home: np.ndarray) -> np.ndarray:
    """−log p of each image [M] under the images' own class frequencies."""
    corrected = under_own_frequencies(logits, labels, home)
    return log_normaliser(corrected) - corrected[np.arange(len(labels)), labels]

"""What labelled held-out images say of a predictor: how often class y is predicted as ŷ. For BBSE and RLLS.

Shapes: `N` test images, `M` held-out images, `C` classes, `R` weightings of the test images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.calibration import softmax
from model.prior_estimation.checks import Floats
from model.prior_estimation.evidence import HeldOut, PriorEvidence
from utils.row_blocks import row_blocks


class PredictionMoments(NamedTuple):
    """Mean predictions, hard (one-hot of the largest) or soft (posteriors)."""

    joint: Floats  # [C, C], of held-out images: row what is predicted, column the label; sums to 1
    target: Floats  # [R, C], of the test images

    @property
    def held_out_prior(self) -> Floats:
        """Class frequencies of the held-out images, [C]."""
        return self.joint.sum(axis=0)

    def prior_of(self, importance: Floats) -> Floats:
        """Test priors [R, C] ∝ held-out prior · importance weights [R, C]."""
        priors = self.held_out_prior * importance
        return priors / priors.sum(axis=1, keepdims=True)


def prediction_moments(
    evidence: PriorEvidence, held_out: HeldOut, weightings: Floats, *, soft: bool
) -> PredictionMoments:
    """Both means, from N + M predictions, for weightings [R, N] of the test images."""
    classes = evidence.shape[1]
    labels = np.asarray(held_out.labels)
    by_label = np.zeros((classes, classes))  # [label, predicted]
    np.add.at(by_label, labels, _predictions(np.asarray(held_out.logits), soft=soft))
    target = np.zeros((len(weightings), classes))
    for rows in row_blocks(*evidence.shape):
        target += weightings[:, rows] @ _predictions(np.asarray(evidence.logits)[rows], soft=soft)
    return PredictionMoments(by_label.T / labels.size, target)


def _predictions(logits: np.ndarray, *, soft: bool) -> Floats:
    """[N, C]: posteriors, or 1 for the class with the largest logit."""
    if soft:
        return np.asarray(softmax(logits.astype(np.float64)), dtype=np.float64)
    one_hot = np.zeros(logits.shape)
    one_hot[np.arange(len(logits)), logits.argmax(axis=1)] = 1
    return one_hot

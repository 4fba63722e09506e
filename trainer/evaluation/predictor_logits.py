"""From each expert's logits to one predictor's: combined, calibrated, with all that a test prior is come by from.

`M` images of a set, `K` held-out images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.posthoc_calibration import Calibrator
from model.prior_estimation import HeldOut
from trainer.evaluation.aggregations import Predictor
from trainer.evaluation.applied_calibration import UNCALIBRATED, WeightsCalibration
from trainer.evaluation.home import home_in_words
from trainer.evaluation.priors import FoundPrior, PriorContext, TestPrior


@dataclass(frozen=True, eq=False)
class PredictorLogits:
    """One predictor's logits of a set of images.

    Args:
        combined: as the predictor has them, [M, C].
        calibrated: the same calibrated, [M, C]; what estimates and corrects sees no others.
        calibrator: what calibrated them; None: nothing, and they are as they were.
        context: what a test prior is come by from.
        home_in_words: the predictor's home prior, see `trainer.evaluation.home.home_in_words`.
    """

    combined: np.ndarray
    calibrated: np.ndarray
    calibrator: Calibrator | None
    context: PriorContext
    home_in_words: str

    def allows(self, prior: TestPrior) -> bool:
        """Whether a prior's correction can start: it needs no home prior, or that is known."""
        return not prior.from_home or self.context.home is not None

    def under(self, prior: TestPrior) -> tuple[FoundPrior | None, np.ndarray]:
        """The test prior that is found for these images, and their calibrated logits [M, C] under it."""
        found = prior.found(self.calibrated, self.context)
        return found, prior.corrected(self.calibrated, found, self.context, self.calibrator)


@dataclass(frozen=True, eq=False)
class NetworkFacts:
    """What is known of a network, whatever images it is asked about.

    Args:
        class_counts: training images of each class, length C; None: unknown.
        class_names: length C; None: the indices.
        homes: the class prior under which each expert's logits are right [E, C], or their mean's [1, C]; None: unknown.
        held_out: each expert's logits [K, E, C] and labels [K] of images that the network was not trained on.
        calibration: of its predictors.
    """

    class_counts: Sequence[int] | None
    class_names: Sequence[str] | None = None
    homes: np.ndarray | None = None
    held_out: HeldOut | None = None
    calibration: WeightsCalibration = UNCALIBRATED

    def logits_of(
        self, predictor: Predictor, expert_logits: np.ndarray, labels: np.ndarray | None = None, *, replicates: int = 50
    ) -> PredictorLogits:
        """A predictor's logits of a set of images.

        Args:
            predictor: one that the calibration covers.
            expert_logits: [M, E, C].
            labels: [M], see `PriorContext.targets`.
            replicates: see `PriorContext.replicates`.

        Raises:
            UserError: the calibration was fitted to a predictor at home elsewhere.
        """
        home = None if self.homes is None else predictor.home(self.homes)
        words = home_in_words(home, self.class_counts)
        calibrator = self.calibration.calibrator(predictor.name, words)
        calibrate = calibrator or _as_they_are
        combined = predictor.combine(expert_logits)  # [M, E, C] → [M, C]
        others = self.held_out
        held_out = others and HeldOut(calibrate(predictor.combine(np.asarray(others.logits))), others.labels)
        names = self.class_names or [str(label) for label in range(combined.shape[1])]
        context = PriorContext(labels, self.class_counts, names, home, held_out, replicates)
        return PredictorLogits(combined, calibrate(combined), calibrator, context, words)


def _as_they_are(logits: np.ndarray) -> np.ndarray:
    return logits

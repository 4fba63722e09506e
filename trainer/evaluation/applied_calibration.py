"""The calibration that an evaluation applies: none, the one stored beside the checkpoint, or one of another file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.posthoc_calibration import Calibrator
from trainer.evaluation.calibrations import (
    CALIBRATION_FILE,
    FittedPredictor,
    StoredCalibration,
    check_calibration,
)
from utils.errors import UserError


@dataclass(frozen=True, eq=False)
class AppliedCalibration:
    """What is done to predictors' logits before anything else.

    Args:
        name: in the results' column `calibration`: "none", "stored: bcts".
        fitted: the predictors' calibrations; None: nothing is done.
    """

    name: str = "none"
    fitted: StoredCalibration | None = None

    @property
    def in_words(self) -> str:
        """What a table says of it, a line; of none nothing."""
        if self.fitted is None:
            return ""
        return f"calibrated first ({self.name}), as fitted to {self.fitted.fitted_on}\n"

    def of(self, weights: str) -> WeightsCalibration:
        """That of the predictors of one kind of weights.

        Raises:
            UserError: it has none of these weights.
        """
        if self.fitted is None:
            return UNCALIBRATED
        if weights not in self.fitted.predictors:
            raise UserError(f"{self.fitted.source}: was not fitted to the {weights} weights")
        return WeightsCalibration(self.name, self.fitted.predictors[weights])


@dataclass(frozen=True, eq=False)
class WeightsCalibration:
    """The same for the predictors of one network.

    Args:
        name: as there.
        predictors: by their names; None: nothing is done to any.
    """

    name: str = "none"
    predictors: Mapping[str, FittedPredictor] | None = None

    def covers(self, predictor: str) -> bool:
        """Whether there is something to do to a predictor, and what it is is known; or nothing is done to any."""
        return self.predictors is None or predictor in self.predictors

    def calibrator(self, predictor: str, home: str) -> Calibrator | None:
        """What is done to a covered predictor's logits; None: nothing.

        Args:
            predictor: its name.
            home: the class prior, in words, that it is at home on.

        Raises:
            UserError: it was fitted to one at home elsewhere.
        """
        if self.predictors is None:
            return None
        fitted = self.predictors[predictor]
        if fitted.home != home:
            raise UserError(
                f"the calibration of {predictor} was fitted to a predictor that is right under the class prior "
                f"{fitted.home}, and this one is under {home}: fit it to this one"
            )
        return fitted.calibrator


UNCALIBRATED = WeightsCalibration()
NO_CALIBRATION = AppliedCalibration()


def read_choice(given: str | None, *, checkpoint: Path, digest: str, num_classes: int) -> AppliedCalibration:
    """The calibration of a checkpoint's predictors that a flag names.

    Args:
        given: see `trainer.evaluation.calibration_flag`; None: none.
        checkpoint: whose stored one is meant.
        digest: its SHA-256, which the stored one has to be of.
        num_classes: C.

    Raises:
        UserError: it can't be read, or is not for these.
    """
    if given is None or given == "none":
        return AppliedCalibration()
    path, file = Path(given), CALIBRATION_FILE
    fitted = file.of_checkpoint(checkpoint, digest) if given == "stored" else file.read(path)
    check_calibration(fitted, num_classes)
    return AppliedCalibration(f"{'stored' if given == 'stored' else f'file {path.name}'}: {fitted.method}", fitted)

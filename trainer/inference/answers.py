"""What a trained network says of given images.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.evaluation.priors import FoundPrior


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network says of some images.

    Args:
        files: those that could be read, N.
        unreadable: the others.
        probabilities: of the ensemble, calibrated and under the test prior as they were asked for, [N, C].
        home_probabilities: of the ensemble as it is, without either, [N, C]: what prediction sets are made of.
        expert_probabilities: each expert's as they are, [N, E, C].
        class_names: length C.
        found: the test prior that was found; None: none was assumed.
    """

    files: list[str]
    unreadable: list[str]
    probabilities: np.ndarray
    home_probabilities: np.ndarray
    expert_probabilities: np.ndarray
    class_names: list[str]
    found: FoundPrior | None

    @property
    def entropies(self) -> np.ndarray:
        """Of the ensemble's probabilities, in nats, [N]: 0 where one class is certain, log C where all are alike."""
        logs = np.log(self.probabilities, out=np.zeros_like(self.probabilities), where=self.probabilities > 0)
        return -(self.probabilities * logs).sum(axis=1)

"""What an estimator of the test prior answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from model.prior_estimation.checks import Floats


@dataclass(frozen=True, eq=False)
class PriorEstimate:
    """An estimated test prior, and how it came about.

    Args:
        prior: [C] with the sum 1; [R, C] where R weightings of the images were given.
        parameters: what else was estimated or chosen on the way (the tilt's γ, MAP-EM's λ): a number or [R] each.
        objectives: what was maximised, in nats an image, at the start and after each iteration, [T] or [T, R]; it never
            falls. Empty for estimators that don't iterate.
        iterations: E-steps; of weightings side by side, those of the slowest.
        converged: whether the stopping rule was met, by all weightings, before the iterations ran out.
    """

    prior: Floats
    parameters: Mapping[str, Any] = field(default_factory=dict)
    objectives: Floats = field(default_factory=lambda: np.empty(0))
    iterations: int = 0
    converged: bool = True

    def with_parameters(self, **parameters: Floats) -> PriorEstimate:
        """With other `parameters`, [R] each."""
        return replace(self, parameters=parameters)

    def shaped_like(self, image_weights: ArrayLike | None) -> PriorEstimate:
        """Without the axis R, which estimators work with throughout, where no rows of weights were given."""
        if image_weights is not None and np.ndim(image_weights) == 2:
            return self
        return replace(
            self,
            prior=self.prior[0],
            parameters={name: float(value[0]) for name, value in self.parameters.items()},
            objectives=self.objectives[:, 0] if self.objectives.size else self.objectives,
        )

"""Plain descent: one gradient a step."""

from __future__ import annotations

from collections.abc import Callable

from trainer.engine.engine import StepMeasures
from trainer.engine.update_rules.base import ComputeGradients, UpdateRule

__all__ = ["Descent"]


class Descent(UpdateRule):
    """The optimiser's step along the gradient at the weights as they are."""

    def __call__(
        self, compute_gradients: ComputeGradients, is_finite: Callable[[StepMeasures], bool]
    ) -> StepMeasures | None:
        """See `UpdateRule`."""
        measures = compute_gradients()
        if not is_finite(measures):
            return None
        self.precision.update(self.optimizer)
        return measures

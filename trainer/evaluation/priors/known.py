"""The test prior is known, whatever the predictor was trained for."""

from __future__ import annotations

from trainer.evaluation.priors.context import TestPrior, class_frequencies

__all__ = ["known"]

known = TestPrior(
    "known",
    class_frequencies,
    "the test prior is known: log π_test − log π_home is added to the logits of every predictor",
)

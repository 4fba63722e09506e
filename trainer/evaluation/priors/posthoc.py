"""The test prior is known: the published correction, `--posthoc_bias_correction`."""

from __future__ import annotations

from trainer.evaluation.priors.context import TestPrior, class_frequencies

__all__ = ["posthoc"]

posthoc = TestPrior(
    "posthoc",
    class_frequencies,
    "the test prior is known: log π_test is added to the logits, as published",
    from_home=False,
)

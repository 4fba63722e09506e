"""Nothing is known of the test prior."""

from __future__ import annotations

from trainer.evaluation.priors.context import TestPrior

__all__ = ["none"]

none = TestPrior("none", lambda logits, context: None, "without knowledge of the test prior", from_home=False)

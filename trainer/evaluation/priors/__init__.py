"""How the test prior is come by; one registry.

An entry is a `TestPrior`. A new one is a file here that lists it in `__all__`; its `name` stands in the results' column
`prior` and is a choice of `--prior`.
"""

from __future__ import annotations

from trainer.evaluation.priors.context import FoundPrior, HeldOutUse, PriorContext, TestPrior
from utils.registry import collect

__all__ = ["NONE", "PRIORS", "FoundPrior", "HeldOutUse", "PriorContext", "TestPrior"]

PRIORS: dict[str, TestPrior] = {prior.name: prior for prior in collect(__name__, __path__).values()}
NONE = PRIORS["none"]

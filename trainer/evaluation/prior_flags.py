"""What the evaluation scripts' flags say of the test prior."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation.priors import NONE, PRIORS, FoundPrior, PriorContext, TestPrior
from utils.errors import UserError, nearest
from utils.files.class_tables import by_class, read_prior

_PUBLISHED = PRIORS["posthoc"]
_CHOICES = ("none", *sorted(PRIORS.keys() - {"none", _PUBLISHED.name}))


def chosen_prior(arguments: argparse.Namespace) -> TestPrior:
    """What the flags name.

    Raises:
        UserError: both flags were given, no prior of this name is known, or the file holds none.
    """
    given: str | None = arguments.prior
    if arguments.posthoc_bias_correction:
        if given is None:
            return _PUBLISHED
        raise UserError(
            "--prior and --posthoc_bias_correction exclude each other: the first corrects from the predictor's own "
            "prior, the second is the published correction"
        )
    return NONE if given is None else prior_named(given)


def prior_named(given: str) -> TestPrior:
    """A prior of the registry, or that of a file.

    Raises:
        UserError: no prior of this name is known, or the file holds none.
    """
    if given in _CHOICES:
        return PRIORS[given]
    path = Path(given)
    if not path.suffix and not path.exists():
        raise UserError(f"--prior {given}: give {', '.join(_CHOICES)}, or a CSV or JSON file{nearest(given, _CHOICES)}")
    return prior_of_file(path)


def prior_of_file(path: Path) -> TestPrior:
    """A prior that somebody wrote down, read now; classes are matched when it is used.

    Raises:
        UserError: see `utils.files.class_tables.read_prior`.
    """
    written = read_prior(path)

    def find(logits: np.ndarray, context: PriorContext) -> FoundPrior:
        return FoundPrior(by_class(path, written, context.class_names))

    told = f"the test prior is that of {path}: log π_test − log π_home is added to the logits of every predictor"
    return TestPrior(f"file {path.name}", find, told)


def assumption(prior: TestPrior, rows: Sequence[Mapping[str, Any]]) -> str:
    """What the table's rows assume of the test prior, with where their ensembles are at home.

    Raises:
        UserError: the correction starts from the ensemble's own prior, which is unknown.
    """
    homes = sorted({row["home"] for row in rows if not row["predictor"].startswith("expert ")})
    if not homes:
        raise UserError(
            f"--prior {prior.name}: the method does not say which class prior its predictor is right for, and the "
            "correction starts from there; leave the flag out, or, for a predictor that is unbiased for uniform, use "
            "--posthoc_bias_correction"
        )
    home = f"π_home is {', '.join(homes)}"
    if prior is _PUBLISHED and homes != ["uniform"]:
        return f"{prior.assumption}; note: that is right where π_home is uniform, and here {home}: see --prior known"
    return f"{prior.assumption}; {home}" if prior.from_home else prior.assumption

"""The flags of the evaluation scripts that say what is known of the test prior."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.evaluation.priors import PRIORS
from utils.errors import UserError

_PUBLISHED = "posthoc"
_CHOICES = tuple(name for name in ("none", *sorted(PRIORS.keys() - {"none"})) if name != _PUBLISHED)


def add_prior_flags(parser: argparse.ArgumentParser) -> None:
    """`--prior NAME`, and the published `--posthoc_bias_correction`."""
    parser.add_argument(
        "--prior",
        choices=_CHOICES,
        help="what is assumed of the test prior: none (default); known: it is the test set's own, and "
        "log π_test − log π_home is added to the logits, right for every predictor",
    )
    parser.add_argument(
        "--posthoc_bias_correction",
        action="store_true",
        help="the published correction: log π_test is added, right for a predictor that is unbiased for uniform",
    )


def chosen_prior(arguments: argparse.Namespace) -> str:
    """The entry of `PRIORS` that the flags name.

    Raises:
        UserError: both flags were given.
    """
    if not arguments.posthoc_bias_correction:
        return arguments.prior or "none"
    if arguments.prior is not None:
        raise UserError(
            "--prior and --posthoc_bias_correction exclude each other: the first corrects from the predictor's own "
            "prior, the second is the published correction"
        )
    return _PUBLISHED


def assumption(prior: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What the table's rows assume of the test prior, with where their ensembles are at home.

    Raises:
        UserError: the correction starts from the ensemble's own prior, which is unknown.
    """
    homes = sorted({row["home"] for row in rows if row["predictor"] == "ensemble"})
    if not homes:
        raise UserError(
            f"--prior {prior}: the method does not say which class prior its predictor is right for, and the "
            "correction starts from there; leave the flag out, or, for a predictor that is unbiased for uniform, use "
            "--posthoc_bias_correction"
        )
    told = PRIORS[prior].assumption
    if prior == "none":
        return told
    home = f"π_home is {', '.join(homes)}"
    if prior == _PUBLISHED and homes != ["uniform"]:
        return f"{told}; note: that is right where π_home is uniform, and here {home}: see --prior known"
    return told if prior == _PUBLISHED else f"{told}; {home}"

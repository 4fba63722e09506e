"""The product of an evaluation: distribution × predictor × prior × metric, array arithmetic on stored logits.

`N` images of the test split, `M` of a distribution, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from model.metrics import LabelledLogits
from model.prior_estimation import HeldOut
from trainer.evaluation.aggregations import Predictor
from trainer.evaluation.distributions import Distribution
from trainer.evaluation.home import home_in_words
from trainer.evaluation.priors import NONE, FoundPrior, PriorContext, TestPrior
from trainer.evaluation.scores import scores_of


def evaluate(
    logits: np.ndarray,
    targets: np.ndarray,
    class_counts: Sequence[int] | None,
    *,
    distributions: Sequence[Distribution],
    predictors: Sequence[Predictor],
    priors: Sequence[TestPrior] = (NONE,),
    homes: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    held_out: HeldOut | None = None,
    intervals: bool = False,
) -> Iterator[dict[str, Any]]:
    """Score every predictor under every prior on every distribution.

    Args:
        logits: each expert's on the whole test split, [N, E, C].
        targets: labels of the test split, [N].
        class_counts: training images of each class, length C; the groups many, medium, few follow from them; None:
            unknown, and so are the groups.
        distributions: which of the images count.
        predictors: see `trainer.evaluation.aggregations`.
        priors: see `trainer.evaluation.priors`.
        homes: the class prior under which each expert's logits are right [E, C], or their mean's [1, C]; None: unknown.
            A predictor without one is left out where a prior's correction starts from it.
        class_names: length C, for priors that name their classes; None: the indices.
        held_out: each expert's logits [K, E, C] and labels [K] of images that the network was not trained on.
        intervals: whether each metric has a bootstrap interval.

    Yields:
        prior, home (the predictor's, in words), distribution, predictor, selection (how the distribution's images were
        chosen), images (M), and what `trainer.evaluation.scores.scores_of` has.
    """
    counts, num_classes = None if class_counts is None else np.asarray(class_counts), logits.shape[2]
    names = class_names or [str(label) for label in range(num_classes)]
    for distribution in distributions:
        selected = logits[distribution.indices]
        for predictor in predictors:
            combined = predictor.combine(selected)  # [M, E, C] → [M, C]
            home = None if homes is None else predictor.home(homes)
            ours = held_out and HeldOut(predictor.combine(np.asarray(held_out.logits)), held_out.labels)
            labels = targets[distribution.indices]
            context = PriorContext(labels, class_counts, names, home, ours)
            for prior in priors:
                if prior.from_home and home is None:
                    continue
                found = prior.found(combined, context)
                labelled = LabelledLogits(prior.corrected(combined, found, context), labels, counts)
                yield {
                    "prior": prior.name,
                    "home": home_in_words(home, counts),
                    "distribution": distribution.name,
                    "predictor": predictor.name,
                    "selection": distribution.selection,
                    "images": len(labels),
                    **scores_of(labelled, intervals=intervals),
                    **_in_columns(found, labels),
                }


def _in_columns(found: FoundPrior | None, targets: np.ndarray) -> dict[str, Any]:
    """What a row has of an estimated prior: how it came about, its L1 distance from the test set's own, intervals."""
    if found is None or found.interval is None:
        return {}
    low, high = found.interval
    true = np.bincount(targets, minlength=len(found.prior)) / len(targets)
    return {
        "prior_in_words": found.in_words,
        "prior_l1": float(np.abs(found.prior - true).sum()),
        "prior_spread": found.spread,
        "test_prior": found.prior.tolist(),
        "test_prior_low": low.tolist(),
        "test_prior_high": high.tolist(),
    }

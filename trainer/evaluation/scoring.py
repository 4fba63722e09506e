"""Anybody's predictions, as arrays: the evaluation scripts' metrics, distributions and priors, without a configuration.

    from trainer.evaluation.results import results_table
    from trainer.evaluation.scoring import correct, score

    probabilities = classifier.predict_proba(images)  # [N, C]
    rows = score(probabilities, labels, kind="probabilities", home="train", training_counts=counts, prior="known")
    print(results_table(rows, first="predictor"))

    found = correct(probabilities, kind="probabilities", home="train", training_counts=counts, prior="tilt")
    found.prior, found.interval, found.logits.argmax(axis=1)  # without labels

    held_out = classifier.predict_proba(others), their_labels  # of images that it was not trained on
    score(…, held_out=held_out, calibration="ts", prior="bbse")  # fits a temperature first; correct takes both, too

`kind` and `home` have no default: numbers alone don't say whether they are logits, nor which class prior they are right
under. `python -m tools.score` does the same for files.

`N` images, `E` experts, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.prior_estimation import HeldOut
from trainer.evaluation.aggregations import predictors
from trainer.evaluation.applied_calibration import AppliedCalibration
from trainer.evaluation.distributions import TestSplit, select
from trainer.evaluation.given_arrays import Kind, as_class_counts, as_held_out, as_home_priors, as_labels, as_logits
from trainer.evaluation.given_calibration import given_calibration
from trainer.evaluation.predictor_logits import NetworkFacts
from trainer.evaluation.presets import WHOLE, Preset
from trainer.evaluation.prior_flags import prior_named
from trainer.evaluation.priors import FoundPrior, TestPrior
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.results import RAW, result_row
from trainer.evaluation.tested_data import labels_name


@dataclass(frozen=True, eq=False)
class Corrected:
    """Predictions under a test prior.

    Args:
        logits: of the ensemble under the test prior, calibrated if that was asked for, [N, C].
        uncorrected: as they were, [N, C].
        home: the class prior that these are right under, [C].
        found: the test prior and, where it was estimated, its interval; None: nothing is known of it.
    """

    logits: NDArray[np.floating]
    uncorrected: NDArray[np.floating]
    home: NDArray[np.float64]
    found: FoundPrior | None


def score(
    outputs: ArrayLike,
    labels: ArrayLike,
    *,
    kind: Kind,
    home: str | ArrayLike,
    training_counts: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    distributions: Sequence[str] | None = None,
    prior: str | TestPrior = "none",
    intervals: bool = False,
    held_out: tuple[ArrayLike, ArrayLike] | None = None,
    calibration: str | AppliedCalibration = "none",
    source: str = "arrays",
) -> list[dict[str, Any]]:
    """Rows of results, as the evaluation scripts have them.

    Args:
        outputs: [N, C], or each expert's [N, E, C].
        labels: [N], class indices.
        kind: what `outputs` are; probabilities count as their logarithms, so that experts are combined as a product.
        home: the class prior that the predictions are right under: "uniform"; "train", that of `training_counts`; or
            frequencies, of the ensemble [C] or of each expert [E, C].
        training_counts: training images of each class, length C; None: unknown. Then many, medium and few are, too, and
            neither `forward<ratio>`, `backward<ratio>` nor the prior "tilt" is possible.
        class_names: length C; None: the indices.
        distributions: names or files, see `trainer.evaluation.distributions`; None: all images, for each expert, too.
        prior: a name of `trainer.evaluation.priors`, a file of one, or an entry of one's own.
        intervals: whether each metric has a 95 % bootstrap interval over the images.
        held_out: outputs [M, C] or [M, E, C] of the same kind, and labels [M], of images that the predictor was not
            trained on; for the priors "bbse" and "rlls", for better estimates of the others, and for a calibration.
        calibration: "none"; "ts", "bcts", "vs" or "sts", fitted to the held-out images; a file of `tools.calibrate`, or
            what `given_calibration` has made of these. A predictor whose home prior is not known has none, and no row.
        source: stands in the column `checkpoint`.

    Returns:
        what `trainer.evaluation.results.results_table` shows and `trainer.evaluation.result_files.write_results`
        writes; see `trainer.evaluation.protocol.evaluate` for the columns.

    Raises:
        ValueError: in one line: other shapes, numbers that are not of this kind, labels that are no classes.
        UserError: a distribution or a prior that there is not, or that the images don't allow.
    """
    logits = as_logits(outputs, kind)
    targets, others = as_labels(labels, logits.shape), as_held_out(held_out, kind, logits.shape)
    facts = _facts(logits.shape, home, training_counts, others, calibration, class_names=class_names)
    chosen = _prior(prior)
    return _rows(logits, targets, facts, distributions=distributions, prior=chosen, intervals=intervals, source=source)


def correct(
    outputs: ArrayLike,
    *,
    kind: Kind,
    home: str | ArrayLike,
    prior: str | TestPrior,
    training_counts: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    held_out: tuple[ArrayLike, ArrayLike] | None = None,
    calibration: str | AppliedCalibration = "none",
) -> Corrected:
    """The ensemble's predictions under a test prior that is given, or estimated from them; no labels are needed.

    Arguments as of `score`, errors, too; the prior "known" is a ValueError here.
    """
    logits = as_logits(outputs, kind)
    others = as_held_out(held_out, kind, logits.shape)
    facts = _facts(logits.shape, home, training_counts, others, calibration, class_names=class_names)
    (ensemble,) = predictors(["mean"], logits.shape[1])
    ours = facts.logits_of(ensemble, logits)
    found, corrected = ours.under(_prior(prior))
    assert ours.context.home is not None, "one was given"
    return Corrected(corrected, ours.combined, ours.context.home, found)


def _facts(
    shape: tuple[int, ...],
    home: str | ArrayLike,
    training_counts: ArrayLike | None,
    held_out: HeldOut | None,
    calibration: str | AppliedCalibration,
    *,
    class_names: Sequence[str] | None,
) -> NetworkFacts:
    """What is said of the network whose logits have the shape [N, E, C]."""
    counts = as_class_counts(training_counts, shape[2])
    homes = as_home_priors(home, shape, counts)
    applied = given_calibration(calibration, held_out, homes, counts, shape[2])
    return NetworkFacts(counts, class_names, homes, held_out, applied.of(RAW))


def _rows(
    logits: NDArray[np.floating],
    targets: NDArray[np.integer],
    facts: NetworkFacts,
    *,
    distributions: Sequence[str] | None,
    prior: TestPrior,
    intervals: bool,
    source: str,
) -> list[dict[str, Any]]:
    preset = WHOLE if distributions is None else Preset("", "shifts", tuple(distributions), ("mean",), by_default=False)
    split = TestSplit(targets, facts.class_counts, num_classes=logits.shape[2], class_names=facts.class_names)
    found = evaluate(
        logits,
        targets,
        facts.class_counts,
        distributions=select(preset.distributions, split),
        predictors=predictors(preset.aggregations, logits.shape[1]),
        priors=[prior],
        homes=facts.homes,
        class_names=facts.class_names,
        intervals=intervals,
        held_out=facts.held_out,
        calibration=facts.calibration,
    )
    checkpoint, protocol, data = Path(source), preset.protocol, labels_name(targets)
    return [result_row(row, checkpoint=checkpoint, protocol=protocol, weights=RAW, data=data) for row in found]


def _prior(given: str | TestPrior) -> TestPrior:
    return prior_named(given) if isinstance(given, str) else given
